"""Which runs train side by side."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import final

from kdbench.matrix import RunSpec

_Key = tuple[str, int, str | None]  # batches, epoch, teacher
LARGEST = 16  # members of a cohort; each holds its weights and optimizer state in memory


@final
@dataclass(frozen=True, eq=False)
class QueuedRun:
    """A run to be trained, the name of the batches that it sees, and the epoch at which it begins."""

    spec: RunSpec
    batches: str
    epoch: int = 0


def group_runs(items: Iterable[QueuedRun], slots: int) -> list[list[QueuedRun]]:
    """Group runs that see the same batches from the same epoch on, and have the same teacher; those without join any.

    Where there are fewer cohorts than slots, the largest is split.
    """
    groups: dict[_Key, list[QueuedRun]] = {}
    for item in items:
        groups.setdefault((item.batches, item.epoch, _teacher(item)), []).append(item)
    found = [part for group in _joined(groups) for part in _pieces(group, LARGEST)]
    while found and len(found) < slots and len(largest := max(found, key=len)) > 1:
        place = found.index(largest)
        half = (len(largest) + 1) // 2
        found[place : place + 1] = [largest[:half], largest[half:]]
    return found


def _teacher(item: QueuedRun) -> str | None:
    return item.spec.teacher.id if item.spec.teacher else None


def _joined(groups: Mapping[_Key, list[QueuedRun]]) -> list[list[QueuedRun]]:
    joined = {key: list(group) for key, group in groups.items()}
    for batches, epoch, teacher in groups:
        host = next((key for key in joined if key[:2] == (batches, epoch) and key[2] is not None), None)
        if teacher is None and host is not None:
            joined[host] = [*joined.pop((batches, epoch, None)), *joined[host]]
    return list(joined.values())


def _pieces(group: Sequence[QueuedRun], size: int) -> list[list[QueuedRun]]:
    return [list(group[start : start + size]) for start in range(0, len(group), size)]
