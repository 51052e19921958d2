"""The boards in a terminal, or in a file that its output goes to."""

import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table as Grid
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
from imagier.training.report import Table

_COLUMNS = 5  # settings side by side; the page has them all
_WIDE = 1000  # letters, where no terminal sets a limit


def print_boards(boards: Sequence[Board], unfinished: Sequence[Unfinished], problems: Sequence[str]) -> None:
    """Print every table that the page has, of scores with parts the best settings only."""
    console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else _WIDE, highlight=False)
    for board in boards:
        console.print(Text(board.title, style="bold"))
        for sentence in (caption(board), *board.notes):
            console.print(Text(sentence, style="dim"))
        console.print()
        _print(console, main_table(board))
        if (comparison := comparison_table(board)) is not None:
            _print(console, comparison)
        for kind, names in parts_of(board).items():
            table = parts_table(board.settings[:_COLUMNS], names)
            _print(console, Table([parts_title(board, kind), *table.headers[1:]], table.rows))
    if unfinished:
        _print(console, unfinished_table(unfinished))
    for problem in problems:
        console.print(Text(problem))


def _print(console: Console, table: Table) -> None:
    grid = Grid(show_edge=False)
    for place, header in enumerate(table.headers):
        grid.add_column(Text(header), justify="left" if place < table.words else "right")
    for row in table.rows:
        grid.add_row(*map(Text, row))
    console.print(grid)
    console.print()
