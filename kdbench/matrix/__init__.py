"""TOML -> validated `Matrix` -> cells of `RunSpec`s. Nothing here imports torch."""

from kdbench.matrix.expand import Cell, Excluded, Expansion, expand
from kdbench.matrix.reader import load, parse
from kdbench.matrix.resolve import Catalogue
from kdbench.matrix.schema import Matrix, Pair
from kdbench.matrix.spec import DataSpec, NetworkSpec, Part, RunSpec, Split

__all__ = [
    "Catalogue",
    "Cell",
    "DataSpec",
    "Excluded",
    "Expansion",
    "Matrix",
    "NetworkSpec",
    "Pair",
    "Part",
    "RunSpec",
    "Split",
    "expand",
    "load",
    "parse",
]
