"""TOML -> validated `MatrixSpec` -> cells of `RunSpec`s. Nothing here imports torch."""

from kdbench.matrix.expand import Cell, Excluded, Expansion, expand
from kdbench.matrix.reader import load, parse
from kdbench.matrix.resolve import Catalog
from kdbench.matrix.schema import MatrixSpec, Pair
from kdbench.matrix.spec import DataSpec, NetworkSpec, Part, RunSpec, Split

__all__ = [
    "Catalog",
    "Cell",
    "DataSpec",
    "Excluded",
    "Expansion",
    "MatrixSpec",
    "NetworkSpec",
    "Pair",
    "Part",
    "RunSpec",
    "Split",
    "expand",
    "load",
    "parse",
]
