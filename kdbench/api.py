"""What notebooks need beside networks and methods."""

from dataclasses import dataclass
from pathlib import Path
from typing import final

from kdbench.matrix import MatrixSpec, RunSpec, load


@final
@dataclass(frozen=True)
class Matrix:
    """A matrix that has been read and checked; `runs` plans its runs."""

    spec: MatrixSpec

    @property
    def name(self) -> str:
        """The matrix's name."""
        return self.spec.name

    def runs(self) -> tuple[RunSpec, ...]:
        """Every run that can be trained, once, teachers first and then seed by seed.

        Nothing is downloaded. Where the files of a known data set are not there, the `dataset.fingerprint` of its runs
        is None, and their ids are provisional; otherwise ids are final.

        Raises:
            MatrixError: a name is unknown, a value breaks its rule, or a data set of one's own is not there.
            DataError: a data set is corrupted.
        """
        from kdbench.plan import make_plan

        return make_plan(self.spec, provisional=True).runs


def load_matrix(path: str | Path) -> Matrix:
    """Read and check the TOML of a matrix; imports no torch.

    Raises:
        MatrixError: the file cannot be read, is no TOML, or breaks a rule of the schema.
    """
    return Matrix(load(path))
