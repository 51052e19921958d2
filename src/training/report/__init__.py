"""The report of a run: one page that explains what was trained, how well it does and what to type next."""

from imagier.training.report.page import template, write_png, write_report
from imagier.training.report.summary import Section, Summary, Table

__all__ = ["Section", "Summary", "Table", "template", "write_png", "write_report"]
