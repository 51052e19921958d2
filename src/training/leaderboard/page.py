"""The boards on one HTML page, with their plots beside it."""

from collections.abc import Sequence
from pathlib import Path

from imagier.training.leaderboard.pictures import MOST, draw_parallel_curves, draw_parts, draw_scores
from imagier.training.leaderboard.runs import Unfinished
from imagier.training.leaderboard.settings import Board
from imagier.training.leaderboard.tables import (
    COMPARED,
    caption,
    comparison_table,
    main_table,
    parts_of,
    parts_table,
    parts_title,
    runs_table,
    unfinished_table,
    written,
)
from imagier.training.pictures import wording
from imagier.training.report import Section, write_chapters


def write_page(
    folder: Path, boards: Sequence[Board], unfinished: Sequence[Unfinished], problems: Sequence[str]
) -> Path:
    """Write leaderboard.html and its plots, NAME.png, into `folder`.

    The page embeds its plots and loads nothing else.

    Returns:
        The path of leaderboard.html.
    """
    chapters = [_chapter(board) for board in boards]
    if unfinished:
        chapters.append([Section("unfinished", "Unfinished runs", table=unfinished_table(unfinished))])
    runs = sum(len(board.runs) for board in boards)
    subtitle = f"{runs} runs of {sum(len(board.settings) for board in boards)} settings"
    path = folder / "leaderboard.html"
    return write_chapters(path, ("Leaderboard", subtitle), [_card(board) for board in boards], problems, chapters)


def _card(board: Board) -> tuple[str, str]:
    best = board.settings[0]
    return board.title, f"{best.name}: {written(board.metric, best.spread(board.metric))}"


def _chapter(board: Board) -> list[Section]:
    """Return the sections of a board: the board itself first, then its details."""
    shown = f"Only the best {MOST} settings are plotted." if len(board.settings) > MOST else ""
    sections = [
        Section(
            board.name,
            f"{board.title[0].upper()}{board.title[1:]}",
            " ".join([caption(board), *board.notes, shown]),
            draw_scores(board),
            f"{wording.title(board.metric)} of each setting with its standard deviation; the numbers are in the table",
            table=main_table(board),
        )
    ]
    if (comparison := comparison_table(board)) is not None:
        title = f"Compared with the best · {board.title}"
        sections.append(Section(f"{board.name}-compared", title, COMPARED, table=comparison))
    for kind, names in parts_of(board).items():
        picture = draw_parts(board, names) if kind == board.metric else None
        title, table = f"{parts_title(board, kind)} · {board.title}", parts_table(board.settings, names)
        sections.append(
            Section(f"{board.name}-{kind}", title, shown if picture is not None else "", picture, title, table=table)
        )
    if (curves := draw_parallel_curves(board)) is not None:
        text = f"Every run over its epochs, one colour per setting. {shown}"
        sections.append(
            Section(f"{board.name}-curves", f"Curves · {board.title}", text, curves, "Losses and score of every run")
        )
    title = f"Runs · {board.title}"
    return [*sections, Section(f"{board.name}-runs", title, table=runs_table(board))]
