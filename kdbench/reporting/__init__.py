"""Tables of a matrix: computed once, rendered to Markdown, LaTeX, CSV and the terminal."""

from kdbench.reporting.contents import tables
from kdbench.reporting.selection import Selection
from kdbench.reporting.table import Column, Table, TableCell, Unit
from kdbench.reporting.write import report

__all__ = ["Column", "Selection", "Table", "TableCell", "Unit", "report", "tables"]
