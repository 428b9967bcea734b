"""Queued runs as the planning sees them."""

from collections.abc import Callable, Collection, Mapping

from kdbench.queue.costs import RunCost
from kdbench.queue.queued_run import QueuedRun
from kdbench.queue.simulation import PlannedRun


def make_planned_runs(
    runs: Mapping[QueuedRun, frozenset[str]], cost: Callable[[str], RunCost], alone: Collection[str] = ()
) -> list[PlannedRun]:
    """Return the planned run of each queued run.

    Runs with the same batches, next epoch and teacher can train together, and so can a run without a teacher with one
    of these groups, if both are ready.

    Args:
        runs: the runs, with those that must finish before.
        cost: returns the seconds of an epoch of a run.
        alone: the runs that must not train with others.
    """
    ready = {run.group for run, needs in runs.items() if not needs}
    with_teacher = {group[:2]: group for group in ready if group[2] is not None}

    def group(run: QueuedRun, needs: frozenset[str]) -> object:
        if run.id in alone:
            return run.id
        if run.group[2] is None and not needs:
            return with_teacher.get(run.group[:2], run.group), True
        return run.group, not needs

    def planned(run: QueuedRun, needs: frozenset[str]) -> PlannedRun:
        seconds, epochs = cost(run.id), run.epochs_left
        own, shared = epochs * seconds.own + seconds.end, epochs * seconds.shared
        return PlannedRun(run.id, group(run, needs), own, shared, needs, epochs)

    return [planned(run, needs) for run, needs in runs.items()]
