"""The wall time of cohorts on several device slots."""

import heapq
from collections.abc import Iterable, Mapping, Sequence

from kdbench.matrix import RunSpec


def simulate(cohorts: Iterable[tuple[Sequence[RunSpec], float]], slot_count: int) -> float:
    """Return the seconds of a list schedule: each slot takes the next cohort whose needed runs are done.

    Args:
        cohorts: cohorts in the order of the queue, each with its seconds.
        slot_count: number of device slots.
    """
    pending, ended, now = list(cohorts), dict[str, float](), 0.0
    planned = {run.id for cohort, _ in pending for run in cohort}
    busy: list[float] = []
    while pending:
        ready = next((item for item in pending if _is_ready(item[0], planned, ended, now)), None)
        if ready is None or len(busy) == slot_count:
            now = heapq.heappop(busy)
            continue
        pending.remove(ready)
        heapq.heappush(busy, now + ready[1])
        ended |= {run.id: now + ready[1] for run in ready[0]}
    return max(ended.values(), default=0.0)


def _is_ready(cohort: Sequence[RunSpec], planned: set[str], ended: Mapping[str, float], now: float) -> bool:
    needs = {need.id for run in cohort for _, need in run.needs} & planned
    return all(need in ended and ended[need] <= now for need in needs)
