"""Which runs train side by side."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import final

from kdbench.matrix import RunSpec

LARGEST = 16  # members of a cohort; each holds its weights and optimiser state in memory


@final
@dataclass(frozen=True, eq=False)
class Item:
    """A run to be trained, and the name of the batches that it sees."""

    spec: RunSpec
    batches: str


def cohorts(items: Iterable[Item], slots: int) -> list[list[Item]]:
    """Group runs that see the same batches and the same teacher; those without a teacher join any of them.

    Where there are fewer cohorts than slots, the largest is split.
    """
    groups: dict[tuple[str, str | None], list[Item]] = {}
    for item in items:
        groups.setdefault((item.batches, _teacher(item)), []).append(item)
    found = [part for group in _joined(groups) for part in _pieces(group, LARGEST)]
    while found and len(found) < slots and len(largest := max(found, key=len)) > 1:
        place = found.index(largest)
        half = (len(largest) + 1) // 2
        found[place : place + 1] = [largest[:half], largest[half:]]
    return found


def _teacher(item: Item) -> str | None:
    return item.spec.teacher.id if item.spec.teacher else None


def _joined(groups: Mapping[tuple[str, str | None], list[Item]]) -> list[list[Item]]:
    joined = {key: list(group) for key, group in groups.items()}
    for batches, teacher in groups:
        host = next((key for key in joined if key[0] == batches and key[1] is not None), None)
        if teacher is None and host is not None:
            joined[host] = [*joined.pop((batches, None)), *joined[host]]
    return list(joined.values())


def _pieces(group: Sequence[Item], size: int) -> list[list[Item]]:
    return [list(group[start : start + size]) for start in range(0, len(group), size)]
