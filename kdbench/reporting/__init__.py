"""Tables of a matrix: computed once, rendered to Markdown, LaTeX, CSV and the terminal."""

from kdbench.reporting.contents import tables
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
    "make_report",
    "render",
    "tables",
    "to_frame",
    "write_report",
]
