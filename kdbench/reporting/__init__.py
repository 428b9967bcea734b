"""Tables of a matrix, computed once and rendered for the terminal, Markdown, LaTeX, CSV and pandas."""

from kdbench.reporting.build import build_tables
from kdbench.reporting.frame import to_frame
from kdbench.reporting.render import Format, render
from kdbench.reporting.selection import Selection
from kdbench.reporting.table import Column, Table, TableCell, Unit
from kdbench.reporting.write import Report, make_report, write_report

__all__ = [
    "Column",
    "Format",
    "Report",
    "Selection",
    "Table",
    "TableCell",
    "Unit",
    "build_tables",
    "make_report",
    "render",
    "to_frame",
    "write_report",
]
