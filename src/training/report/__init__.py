"""The report of a run: one page on what was trained, how well it performs and which commands come next."""

from imagier.training.report.compression import difference_table
from imagier.training.report.page import write_chapters, write_report
from imagier.training.report.summary import Section, Summary, Table
from imagier.training.report.text import print_table, terminal

__all__ = [
    "Section",
    "Summary",
    "Table",
    "difference_table",
    "print_table",
    "terminal",
    "write_chapters",
    "write_report",
]
