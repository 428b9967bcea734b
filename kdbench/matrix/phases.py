"""The phases of a matrix: a search that chooses configurations, if `search_seeds` are given, and the report."""

from collections.abc import Sequence
from functools import cache
from typing import final

from kdbench.errors import MatrixError
from kdbench.matrix.cells import PhaseName
from kdbench.matrix.protocol import Protocol
from kdbench.matrix.schema import MatrixSpec
from kdbench.matrix.spec import Split


@final
class Phase:
    """The seeds of a phase, and the split and the teacher of each."""

    def __init__(self, name: PhaseName, seeds: tuple[int, ...], protocol: Protocol) -> None:
        self.name = name
        self.seeds = seeds
        self._protocol = protocol
        self.split = cache(self._split)

    def teacher_seeds(self, seeds: Sequence[int]) -> Sequence[int]:
        """Return the seeds of the teachers of students with these seeds."""
        seed = self._protocol.teacher_seed
        return seeds if seed == "paired" else (seed,)

    def _split(self, seed: int) -> Split:
        protocol = self._protocol
        return Split(
            validation=0.0 if protocol.refit and self.name == "report" else protocol.validation,
            split_seed=seed if protocol.split_seed == "paired" else protocol.split_seed,
            teacher_seed=protocol.teacher_seed,
            track_test=protocol.track_test,
            is_paired=protocol.split_seed == "paired",
        )


def search_phase(matrix: MatrixSpec) -> Phase | None:
    """Return the phase in which configurations are chosen; None if they are chosen on `seeds`."""
    seeds = matrix.protocol.search_seeds
    return Phase("search", seeds, matrix.protocol) if seeds else None


def report_phase(matrix: MatrixSpec) -> Phase:
    """Return the phase whose results are reported."""
    return Phase("report", matrix.seeds, matrix.protocol)


def check_protocol(matrix: MatrixSpec) -> None:
    """Check that the keys of `[protocol]` agree.

    Raises:
        MatrixError: with the key, the value got and the remedy.
    """
    protocol = matrix.protocol
    where = f"{matrix.file}: protocol"
    shared = [seed for seed in protocol.search_seeds if seed in matrix.seeds]
    if shared:
        raise MatrixError(
            f"{where}.search_seeds: must not contain a seed of 'seeds', got {shared[0]} in both; "
            "choose other search seeds, so that the reported runs have chosen nothing"
        )
    if protocol.search_seeds and protocol.validation == 0:
        raise MatrixError(
            f"{where}.search_seeds: configurations are chosen on validation images, but protocol.validation is 0; "
            "set it to a fraction of the training images, such as 0.1"
        )
    if protocol.refit and not protocol.search_seeds:
        raise MatrixError(
            f"{where}.refit: needs protocol.search_seeds, because the reported runs have no validation images to "
            "choose configurations on; set search_seeds = [100], or remove refit"
        )
    if protocol.split_seed == "paired" and protocol.teacher_seed != "paired":
        raise MatrixError(
            f'{where}.split_seed: "paired" needs teacher_seed = "paired", got teacher_seed = {protocol.teacher_seed}; '
            "otherwise a teacher would train on validation images of its students"
        )
