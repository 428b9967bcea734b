"""The order in which runs are trained: runs that others need come first."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from kdbench.matrix.spec import RunSpec


def sort_runs(specs: Iterable[RunSpec]) -> tuple[RunSpec, ...]:
    """Return the runs and those that they need, without duplicates: first those that others need, then by seed."""
    runs = {run.id: run for spec in specs for run in with_needs(spec)}
    depth = _depths(runs.values())
    return tuple(sorted(runs.values(), key=lambda run: (-depth[run.id], run.seed if not depth[run.id] else 0)))


def with_needs(spec: RunSpec) -> Iterator[RunSpec]:
    """Yield the runs that a run needs, the first ones first, and the run."""
    for _, need in spec.needs:
        yield from with_needs(need)
    yield spec


def _depths(runs: Iterable[RunSpec]) -> Mapping[str, int]:
    """Return the length of the longest chain of runs that need each run."""
    depth: Counter[str] = Counter()

    def visit(run: RunSpec, length: int) -> None:
        depth[run.id] = max(depth[run.id], length)
        for _, need in run.needs:
            if depth[need.id] < length + 1:
                visit(need, length + 1)

    for run in runs:
        visit(run, 0)
    return depth
