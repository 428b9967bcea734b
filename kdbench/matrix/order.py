"""The order of runs: what others wait for comes first."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from kdbench.matrix.spec import RunSpec


def in_order(asked: Iterable[RunSpec]) -> tuple[RunSpec, ...]:
    """Every run once, with the runs that they need: those that others need first, then seed by seed."""
    every = {run.id: run for spec in asked for run in _with_needs(spec)}
    depth = _depths(every.values())
    return tuple(sorted(every.values(), key=lambda run: (-depth[run.id], run.seed if not depth[run.id] else 0)))


def _with_needs(spec: RunSpec) -> Iterator[RunSpec]:
    for _, need in spec.needs:
        yield from _with_needs(need)
    yield spec


def _depths(runs: Iterable[RunSpec]) -> Mapping[str, int]:
    """How many runs in a row wait for each run, at the most."""
    depth: Counter[str] = Counter()

    def sink(run: RunSpec, below: int) -> None:
        depth[run.id] = max(depth[run.id], below)
        for _, need in run.needs:
            if depth[need.id] < below + 1:
                sink(need, below + 1)

    for run in runs:
        sink(run, 0)
    return depth
