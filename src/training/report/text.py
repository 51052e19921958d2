"""Tables in a terminal, or in a file that its output goes to."""

import sys

from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from imagier.training.report.summary import Table

_WIDE = 1000  # letters, where no terminal sets a limit


def terminal() -> Console:
    """Standard output, whose lines are not broken where it is a file."""
    return Console(file=sys.stdout, width=None if sys.stdout.isatty() else _WIDE, highlight=False)


def print_table(console: Console, table: Table) -> None:
    """Print a table as the page has it, and an empty line."""
    grid = Grid(show_edge=False)
    for place, header in enumerate(table.headers):
        grid.add_column(Text(header), justify="left" if place < table.words else "right")
    for row in table.rows:
        grid.add_row(*map(Text, row))
    console.print(grid)
    console.print()
