"""Plans which runs train together: simulates the schedule for several cuts of the groups and takes the best."""

import heapq
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, reduce
from itertools import islice
from typing import final

from kdbench.queue.simulation import Machine, Part, PlannedRun, cohort_seconds, shared_seconds, simulate

MAX_COHORT_SIZE = 16  # the weights and optimizer states of all members are in memory together
MAX_SIMULATED_RUNS = 4000  # above this number the cut hardly matters: there are far more parts than slots
SHARES = (1.0, 0.7, 0.5, 0.35, 0.25, 0.18, 0.125, 0.06)  # longest part, relative to an equal share of all work
TRIALS = 50_000  # simulated runs
PASSES = 2  # over the groups, each of which is cut into one part more or less
MIN_GAIN = 0.002  # a cut with more parts must end this much earlier

Counts = Mapping[object, int]  # number of parts of each group


@final
@dataclass(frozen=True)
class Schedule:
    """A simulated schedule.

    Attributes:
        parts: in the order of their start.
        starts: the seconds until each starts.
        end: the seconds until the last one ends.
        counts: the number of parts of each group.
    """

    parts: tuple[Part, ...]
    starts: tuple[float, ...]
    end: float
    counts: Counts


def make_schedule(runs: Sequence[PlannedRun], machine: Machine, counts: Counts | None = None) -> Schedule:
    """Cut the runs of each group into parts, such that the schedule ends as early as possible.

    Args:
        runs: the runs, each after those that it needs.
        machine: the slots.
        counts: the number of parts of each group, to simulate no other; a group that it does not have is not cut.
    """
    slots = len(machine.busy) + len(machine.idle)
    tails = _tails(runs, slots)
    groups: dict[object, list[PlannedRun]] = defaultdict(list)
    for run in runs:
        groups[run.group, slots > 1 and tails[run.id] > 0].append(run)  # what delays others waits for no other

    def simulate_cut(counts: Counts) -> Schedule:
        parts = [
            _part(part, tails, machine.start_seconds)
            for key, group in groups.items()
            for part in cut(group, counts.get(key, 1))
        ]
        starts, end = simulate(parts, machine)
        return Schedule(tuple(parts[index] for index in starts), tuple(starts.values()), end, counts)

    if counts is not None or len(runs) > MAX_SIMULATED_RUNS:
        return simulate_cut(counts or {})
    return _best_schedule(groups, slots, simulate_cut, max(1, TRIALS // (len(runs) + 1)))


def _part(runs: Sequence[PlannedRun], tails: Mapping[str, float], start_seconds: float) -> Part:
    shared, seconds = start_seconds + shared_seconds(runs), start_seconds + cohort_seconds(runs)
    return Part(
        runs=tuple(run.id for run in runs),
        seconds=seconds,
        shared=shared / seconds if seconds else 0.0,
        tail=max(tails[run.id] for run in runs),
        needs=frozenset().union(*(run.needs for run in runs)),
        epochs=max(run.epochs for run in runs),
    )


def _best_schedule(
    groups: Mapping[object, Sequence[PlannedRun]], slots: int, simulate: Callable[[Counts], Schedule], trials: int
) -> Schedule:
    """Return the schedule that ends first: of several cuts of all groups, and of changes to that of single groups."""
    schedules = map(simulate, islice(_candidates(groups, slots), trials))
    best = reduce(lambda first, other: other if _is_shorter(other, first) else first, schedules)
    changes = ((key, change) for _ in range(PASSES) for key in _by_work(groups) for change in (1, -1))
    for key, change in islice(changes, trials):
        if 1 <= best.counts[key] + change <= len(groups[key]):
            changed = simulate({**best.counts, key: best.counts[key] + change})
            best = changed if _is_shorter(changed, best) else best
    return best


def _is_shorter(schedule: Schedule, other: Schedule) -> bool:
    return schedule.end < other.end * (1 - MIN_GAIN)


def _by_work(groups: Mapping[object, Sequence[PlannedRun]]) -> list[object]:
    return sorted(groups, key=lambda key: -sum(run.own for run in groups[key]))


def _candidates(groups: Mapping[object, Sequence[PlannedRun]], slots: int) -> Iterator[Counts]:
    """Yield numbers of parts: the same for all groups, or such that no part is longer than a share of all work."""
    for parts in range(1, slots + 1):
        yield {key: min(parts, len(group)) for key, group in groups.items()}
    work = sum(map(cohort_seconds, groups.values()))
    for share in SHARES:
        yield {key: _count_parts(group, share * work / slots) for key, group in groups.items()}


def _count_parts(group: Sequence[PlannedRun], longest: float) -> int:
    """Return how many parts a group needs, so that none is longer than `longest` seconds."""
    for_runs = max(longest - shared_seconds(group), max(run.own for run in group))
    return min(len(group), math.ceil(sum(run.own for run in group) / for_runs)) if for_runs else 1


def cut(group: Sequence[PlannedRun], parts: int) -> list[list[PlannedRun]]:
    """Cut a group into parts of about the same length, and no larger than `MAX_COHORT_SIZE`."""
    parts = max(parts, math.ceil(len(group) / MAX_COHORT_SIZE))
    if parts == 1:
        return [list(group)]
    heap, chosen = [(0.0, number) for number in range(parts)], defaultdict[int, list[int]](list)
    for index in sorted(range(len(group)), key=lambda index: -group[index].own):
        seconds, number = heapq.heappop(heap)
        chosen[number].append(index)
        if len(chosen[number]) < MAX_COHORT_SIZE:
            heapq.heappush(heap, (seconds + group[index].own, number))
    return [[group[index] for index in sorted(chosen[number])] for number in range(parts) if chosen[number]]


def _tails(runs: Sequence[PlannedRun], slots: int) -> dict[str, float]:
    """Return the seconds of what waits behind each run: the longest chain, or all of it divided among the slots."""
    known = {run.id: run for run in runs}
    dependents: dict[str, list[str]] = defaultdict(list)
    for run in runs:
        for need in run.needs:
            dependents[need].append(run.id)

    @cache
    def chain(run: str) -> float:
        return max(
            (known[other].own + known[other].shared + chain(other) for other in dependents.get(run, ())), default=0.0
        )

    @cache
    def behind(run: str) -> frozenset[str]:
        others = dependents.get(run, ())
        return frozenset(others).union(*map(behind, others))

    def divided(run: str) -> float:
        waiting = [known[other] for other in behind(run)]
        shared = {run.group: run.shared for run in waiting}
        return (sum(run.own for run in waiting) + sum(shared.values())) / slots

    return {run: max(chain(run), divided(run)) for run in {*known, *dependents}}
