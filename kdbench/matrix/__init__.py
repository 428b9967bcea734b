"""A TOML file is validated to a `MatrixSpec` and expanded to cells of `RunSpec`s. Nothing here imports torch."""

from kdbench.matrix.cells import Cell, Excluded, Expansion, Sweep
from kdbench.matrix.expand import expand
from kdbench.matrix.reader import load, parse
from kdbench.matrix.resolve import Registry
from kdbench.matrix.schema import MatrixSpec, Pair
from kdbench.matrix.spec import DataSpec, NetworkSpec, Part, RunSpec, Split

__all__ = [
    "Cell",
    "DataSpec",
    "Excluded",
    "Expansion",
    "MatrixSpec",
    "NetworkSpec",
    "Pair",
    "Part",
    "Registry",
    "RunSpec",
    "Split",
    "Sweep",
    "expand",
    "load",
    "parse",
]
