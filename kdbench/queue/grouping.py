"""Groups runs into cohorts."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import final

from kdbench.matrix import RunSpec

_Key = tuple[str, int, str | None]  # batches, epoch, teacher
MAX_COHORT_SIZE = 16  # the weights and optimizer states of all members are in memory together


@final
@dataclass(frozen=True, eq=False)
class QueuedRun:
    """A pending run. `batches` is the key of its batches, `epoch` the next epoch to train, counted from 0."""

    spec: RunSpec
    batches: str
    epoch: int = 0


def group_runs(runs: Iterable[QueuedRun], slots: int) -> list[list[QueuedRun]]:
    """Group runs with the same batches, the same next epoch and the same teacher into cohorts.

    A run without a teacher joins a group with the same batches and epoch. If there are fewer cohorts than slots, the
    largest one is split.
    """
    groups: dict[_Key, list[QueuedRun]] = {}
    for run in runs:
        groups.setdefault((run.batches, run.epoch, _teacher_id(run)), []).append(run)
    cohorts = [part for group in _merge(groups) for part in _split(group, MAX_COHORT_SIZE)]
    while cohorts and len(cohorts) < slots and len(largest := max(cohorts, key=len)) > 1:
        index = cohorts.index(largest)
        cohorts[index : index + 1] = _split(largest, (len(largest) + 1) // 2)
    return cohorts


def _teacher_id(run: QueuedRun) -> str | None:
    return run.spec.teacher.id if run.spec.teacher else None


def _merge(groups: Mapping[_Key, list[QueuedRun]]) -> list[list[QueuedRun]]:
    """Merge each group without a teacher into the first group with the same batches and epoch."""
    merged = {key: list(group) for key, group in groups.items()}
    for batches, epoch, teacher in groups:
        target = next((key for key in merged if key[:2] == (batches, epoch) and key[2] is not None), None)
        if teacher is None and target is not None:
            merged[target] = [*merged.pop((batches, epoch, None)), *merged[target]]
    return list(merged.values())


def _split(group: Sequence[QueuedRun], size: int) -> list[list[QueuedRun]]:
    return [list(group[start : start + size]) for start in range(0, len(group), size)]
