"""Boards printed to a terminal, or to a file."""

from collections.abc import Sequence

from rich.text import Text

from imagier.training.leaderboard.runs import Unfinished
from imagier.training.leaderboard.settings import Board
from imagier.training.leaderboard.tables import (
    caption,
    comparison_table,
    main_table,
    parts_of,
    parts_table,
    parts_title,
    unfinished_table,
)
from imagier.training.report import Table, print_table, terminal

_COLUMNS = 5  # settings side by side; the page has them all


def print_boards(boards: Sequence[Board], unfinished: Sequence[Unfinished], problems: Sequence[str]) -> None:
    """Print the page's tables, but not the list of runs; parts of scores only for the best settings."""
    console = terminal()
    for board in boards:
        console.print(Text(board.title, style="bold"))
        for sentence in (caption(board), *board.notes):
            console.print(Text(sentence, style="dim"))
        console.print()
        print_table(console, main_table(board))
        if (comparison := comparison_table(board)) is not None:
            print_table(console, comparison)
        for kind, names in parts_of(board).items():
            table = parts_table(board.settings[:_COLUMNS], names)
            print_table(console, Table([parts_title(board, kind), *table.headers[1:]], table.rows))
    if unfinished:
        print_table(console, unfinished_table(unfinished))
    for problem in problems:
        console.print(Text(problem))
