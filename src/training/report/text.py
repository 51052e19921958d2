"""Tables printed to a terminal, or to a file."""

import sys

from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from imagier.training.report.summary import Table

_WIDE = 1000  # characters, without a terminal's limit


def terminal() -> Console:
    """Return a console on standard output, which does not wrap lines if that is redirected."""
    return Console(file=sys.stdout, width=None if sys.stdout.isatty() else _WIDE, highlight=False)


def print_table(console: Console, table: Table) -> None:
    """Print a table as on the page, and an empty line."""
    grid = Grid(show_edge=False)
    for place, header in enumerate(table.headers):
        grid.add_column(Text(header), justify="left" if place < table.words else "right")
    for row in table.rows:
        grid.add_row(*map(Text, row))
    console.print(grid)
    console.print()
