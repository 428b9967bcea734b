"""Tables of a matrix: computed once, rendered to Markdown, LaTeX, CSV and the terminal."""

from kdbench.report.contents import tables
from kdbench.report.selection import Selection
from kdbench.report.table import Column, Table, TableCell, Unit
from kdbench.report.write import report

__all__ = ["Column", "Selection", "Table", "TableCell", "Unit", "report", "tables"]
