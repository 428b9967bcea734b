"""Simulates a list schedule: a free slot takes, of the parts that are ready, the one with most seconds before it."""

import heapq
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import final


@final
@dataclass(frozen=True, eq=False)
class PlannedRun:
    """A run that is to be trained.

    Attributes:
        id: its id.
        group: runs with the same group can train together.
        own: the seconds that it takes, without what it shares.
        shared: the seconds of what it shares with a cohort.
        needs: the runs that must finish before, of those that are not finished.
        epochs: the number of epochs to train.
    """

    id: str
    group: object
    own: float
    shared: float
    needs: frozenset[str] = frozenset()
    epochs: int = 1


@final
@dataclass(frozen=True, eq=False)
class Part:
    """Runs that train together.

    Attributes:
        runs: the ids of its runs.
        seconds: what it takes.
        shared: the share of its seconds in what the runs share.
        tail: the seconds of what waits behind it.
        needs: the runs that must finish before.
        epochs: the number of epochs to train; it can be divided only between epochs.
    """

    runs: tuple[str, ...]
    seconds: float
    shared: float
    tail: float = 0.0
    needs: frozenset[str] = frozenset()
    epochs: int = 1


@final
@dataclass(frozen=True, eq=False)
class Machine:
    """The slots: the parts that train, with their seconds left, and for each other slot the seconds until it is free.

    A part takes `start_seconds` to start.
    """

    busy: Sequence[Part]
    idle: Sequence[float]
    start_seconds: float


def shared_seconds(runs: Iterable[PlannedRun]) -> float:
    """Return the seconds of what a cohort shares; a run without a teacher shares less than one with it."""
    return max(run.shared for run in runs)


def cohort_seconds(runs: Sequence[PlannedRun]) -> float:
    """Return the seconds of runs that train side by side."""
    return shared_seconds(runs) + sum(run.own for run in runs)


def simulate(parts: Sequence[Part], machine: Machine) -> tuple[dict[int, float], float]:
    """Return when each part starts, by its index and in this order, and when the last one ends.

    An idle slot takes over half of the runs of the part that ends last, if that part delays no other and it pays.
    """
    simulation = _Simulation(parts, machine)
    simulation.run()
    return simulation.starts, max((load.end for load in simulation.loads.values()), default=0.0)


@final
@dataclass
class _Load:
    """What a slot trains; `epoch`: seconds, `shared`: share of the seconds."""

    start: float
    end: float
    epoch: float = 0.0
    shared: float = 0.0
    members: int = 1
    is_divisible: bool = False

    def divide(self, now: float, start_seconds: float) -> "_Load | None":
        """Give half of the members away after the epoch that is running; return them, or None where it does not pay."""
        start = now + self.epoch
        left = self.end - start
        if left <= 0:
            return None
        given = self.members // 2
        longer, shorter = (
            left * (self.shared + (1 - self.shared) * members / self.members)
            for members in (self.members - given, given)
        )
        taken = shorter + start_seconds
        if max(longer, taken) + start_seconds > left:
            return None
        shared, epochs = self.shared * left, left / self.epoch
        self.end, self.epoch, self.shared = start + longer, longer / epochs, shared / longer
        self.members -= given
        return _Load(now, start + taken, shorter / epochs, (shared + start_seconds) / taken, given, is_divisible=True)


@final
class _Simulation:
    def __init__(self, parts: Sequence[Part], machine: Machine) -> None:
        self._parts = parts
        self._start_seconds = machine.start_seconds
        self.starts: dict[int, float] = {}
        self.loads = {slot: _load(part, -math.inf, part.seconds) for slot, part in enumerate(machine.busy)}
        self.loads |= {len(self.loads) + slot: _Load(0.0, time) for slot, time in enumerate(machine.idle)}
        self._free = [(load.end, slot) for slot, load in self.loads.items()]
        self._ends = {run: part.seconds for part in machine.busy for run in part.runs}
        self._behind: dict[str, list[int]] = defaultdict(list)
        self._waiting: dict[int, int] = {}
        self._future: list[tuple[float, int]] = []
        self._ready: list[tuple[float, int]] = []
        self._add(set(self._ends).union(*(part.runs for part in parts)))

    def _add(self, known: set[str]) -> None:
        """Add the parts of which all needs are trained by this machine."""
        for index, part in enumerate(self._parts):
            if not part.needs <= known:
                continue
            self._waiting[index] = len(part.needs - self._ends.keys())
            for need in part.needs - self._ends.keys():
                self._behind[need].append(index)
            if not self._waiting[index]:
                self._release(index)

    def _release(self, index: int) -> None:
        time = max((self._ends[need] for need in self._parts[index].needs), default=0.0)
        heapq.heappush(self._future, (time, index))

    def run(self) -> None:
        """Fill the slots until no part is left and no part can be divided further."""
        heapq.heapify(self._free)
        while self._free:
            now, slot = heapq.heappop(self._free)
            if now < self.loads[slot].end:
                continue  # outdated: an entry with its later end follows
            while self._future and self._future[0][0] <= now:
                _, index = heapq.heappop(self._future)
                heapq.heappush(self._ready, (-self._parts[index].seconds - self._parts[index].tail, index))
            if self._ready:
                self._start(heapq.heappop(self._ready)[1], slot, now)
            elif not self._divide(slot, now) and self._future:
                heapq.heappush(self._free, (self._future[0][0], slot))

    def _start(self, index: int, slot: int, now: float) -> None:
        part = self._parts[index]
        self.starts[index] = now
        self.loads[slot] = _load(part, now, now + part.seconds)
        heapq.heappush(self._free, (now + part.seconds, slot))
        for run in part.runs:
            self._ends[run] = now + part.seconds
            for other in self._behind.get(run, ()):
                self._waiting[other] -= 1
                if not self._waiting[other]:
                    self._release(other)

    def _divide(self, slot: int, now: float) -> bool:
        """Let an idle slot take over half of the part that ends last; return whether it does."""
        candidates = [
            load
            for load in self.loads.values()
            if load.is_divisible and load.members > 1 and load.start <= now < load.end
        ]
        longest = max(candidates, key=lambda load: load.end, default=None)
        given = longest.divide(now, self._start_seconds) if longest else None
        if given is None:
            return False
        self.loads[slot] = given
        for number, load in self.loads.items():
            if load is longest or load is given:
                heapq.heappush(self._free, (load.end, number))
        return True


def _load(part: Part, start: float, end: float) -> _Load:
    return _Load(start, end, part.seconds / max(1, part.epochs), part.shared, len(part.runs), not part.tail)
