"""How close the scheduler comes to the shortest possible time, on virtual machines with 1 to 16 slots.

    python benchmarks/schedule.py [--slots 1 2 4 8 16] [--random 1000]

The real scheduler trains matrices whose epochs only take virtual time: 25 that are typical, and random ones. It first
estimates the epochs by operations, which are wrong by up to a factor of two for a network, and by a third for a method.
A job takes two seconds to start. The result is the time from the first job to the end of the last run, divided by a
lower bound that no schedule can beat, even if runs could move at any time: the longest chain of runs that need one
another, each in a job of its own, and, from each moment on, the work that cannot have begun earlier, divided by the
slots.
"""

import argparse
import math
import random
import statistics
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import final

from virtual_machine import START_SECONDS, STEPS, VirtualMachine

from kdbench.events import Event, TimeLeft
from kdbench.matrix import DataSpec, NetworkSpec, Part, RunSpec, Split
from kdbench.matrix.recipe import Recipe
from kdbench.queue.costs import CostModel, EpochWork, RunCost
from kdbench.queue.planning import MAX_COHORT_SIZE
from kdbench.queue.queued_run import QueuedRun
from kdbench.queue.scheduler import Scheduler
from kdbench.queue.workload import Workload
from kdbench.results import Store

RATE = 3e10  # operations per second
SLOTS = (1, 2, 4, 8, 16)


@final
@dataclass(frozen=True)
class Matrix:
    """A matrix: on each seed a teacher (or one for all), scratch, and students of several methods.

    Attributes:
        teachers: seconds of an epoch of each teacher.
        student: seconds of an epoch of the student, relative to its teacher.
        students: distilled runs on each seed.
        seeds: number of seeds.
        paired: whether each seed has its own teachers.
        epochs: of every run.
        generations: further runs in a chain, each of which needs the one before.
    """

    name: str
    teachers: tuple[float, ...] = (12.0,)
    student: float = 0.4
    students: int = 9
    seeds: int = 1
    paired: bool = False
    epochs: int = 30
    generations: int = 0


TYPICAL = (
    Matrix("1 teacher, 1 seed, 4 students", students=4),
    Matrix("1 teacher, 1 seed, 9 students"),
    Matrix("1 teacher, 1 seed, 18 students", students=18),
    Matrix("1 teacher, 1 seed, 40 students", students=40),
    Matrix("1 teacher, 3 seeds, 9 students", seeds=3),
    Matrix("1 teacher, 3 seeds, 17 students", seeds=3, students=17),
    Matrix("1 teacher, 5 seeds, 4 students", seeds=5, students=4),
    Matrix("1 teacher, 5 seeds, 9 students", seeds=5),
    Matrix("1 teacher, 5 seeds, 30 students", seeds=5, students=30),
    Matrix("paired teachers, 3 seeds, 4 students", seeds=3, students=4, paired=True),
    Matrix("paired teachers, 3 seeds, 9 students", seeds=3, paired=True),
    Matrix("paired teachers, 5 seeds, 9 students", seeds=5, paired=True),
    Matrix("paired teachers, 5 seeds, 20 students", seeds=5, students=20, paired=True),
    Matrix("2 pairs, 1 seed, 9 students", (12.0, 20.0)),
    Matrix("2 pairs, 3 seeds, 9 students", (12.0, 20.0), seeds=3),
    Matrix("3 pairs, 3 seeds, 6 students", (6.0, 12.0, 24.0), seeds=3, students=6),
    Matrix("5 pairs, 1 seed, 12 students", (4.0, 8.0, 12.0, 16.0, 20.0), students=12),
    Matrix("7 pairs, 3 seeds, 8 students", (4.0, 8.0, 9.0, 12.0, 16.0, 20.0, 30.0), seeds=3, students=8),
    Matrix("a large teacher, 9 students", (40.0,), student=0.1),
    Matrix("a small teacher, 9 students", (12.0,), student=1.0),
    Matrix("few epochs, 9 students", epochs=6),
    Matrix("many epochs, 9 students", epochs=200),
    Matrix("a chain of 3 generations", students=6, generations=3),
    Matrix("chains on 3 seeds", students=4, seeds=3, generations=2),
    Matrix("the thesis in small: 7 pairs, 27 configurations, 3 seeds", (4.0, 8.0, 9.0, 12.0, 16.0, 20.0, 30.0),
           students=27, seeds=3),
)  # fmt: skip


@final
@dataclass(frozen=True)
class Problem:
    """The runs of a matrix in the order of the queue, with what their epochs truly cost."""

    runs: Sequence[QueuedRun]
    costs: Mapping[str, RunCost]


def make_problem(matrix: Matrix, seed: int) -> Problem:
    """Return the runs of a matrix; their true costs differ at random from the estimates."""
    chance = random.Random(seed)
    runs: list[QueuedRun] = []
    costs: dict[str, RunCost] = {}

    def add(name: str, label: str, number: int, work: EpochWork, factor: float, teacher: QueuedRun | None) -> QueuedRun:
        needs = (("teacher", teacher.spec),) if teacher else ()
        parts, recipe = (Part(label),), Recipe(epochs=matrix.epochs)
        run = RunSpec(DataSpec("images", "digits"), NetworkSpec(name), parts, recipe, Split(), number, needs)
        stream = "teacher" if teacher is None and name.startswith("teacher") else "student"
        runs.append(QueuedRun(run, f"{stream} {number}", work))
        shared = 0.02 * work.own / RATE + (work.shared / RATE * teachers[teacher.spec.student.name] if teacher else 0.0)
        costs[run.id] = RunCost(factor * work.own / RATE, shared)
        return runs[-1]

    teachers = {f"teacher{i}": chance.uniform(0.5, 2.0) for i in range(len(matrix.teachers))}
    methods = [chance.uniform(0.75, 1.33) for _ in range(matrix.students)]
    for index, seconds in enumerate(matrix.teachers):
        own, factor, trained = RATE * seconds, chance.uniform(0.5, 2.0), dict[int, QueuedRun]()
        for number in range(matrix.seeds):
            key = number if matrix.paired else 0
            if key not in trained:
                name = f"teacher{index}"
                trained[key] = add(name, "scratch", key, EpochWork(own, 0.0, STEPS), teachers[name], None)
            work = EpochWork(matrix.student * own, own / 3, STEPS)
            student = f"student{index}"
            add(student, "scratch", number, EpochWork(work.own, 0.0, STEPS), factor, None)
            for label, method in enumerate(methods):
                add(student, f"method{label}", number, work, factor * method, trained[key])
            last = trained[key]
            for generation in range(matrix.generations):
                last = add(student, f"generation{generation}", number, work, factor, last)
                teachers.setdefault(student, factor)
    return Problem(runs, costs)


def lower_bound(problem: Problem, slots: int) -> float:
    """Return seconds that no schedule can beat."""
    epochs = problem.runs[0].spec.recipe.epochs
    own = {run.id: epochs * problem.costs[run.id].own for run in problem.runs}
    shared = {run.id: epochs * problem.costs[run.id].shared for run in problem.runs}
    earliest: dict[str, float] = {}
    for run in problem.runs:
        ends = (earliest[need] + own[need] + shared[need] for need in run.needs)
        earliest[run.id] = max(ends, default=0.0) + START_SECONDS  # of the job, which is not that of the needs
    bound = max(earliest[run.id] + own[run.id] + shared[run.id] for run in problem.runs)
    for moment in set(earliest.values()):
        later = [run for run in problem.runs if earliest[run.id] >= moment]
        groups: dict[object, list[QueuedRun]] = {}
        for run in later:
            groups.setdefault(run.group[:2] if run.group[2] is None else run.group, []).append(run)
        cohorts = sum(
            math.ceil(len(group) / MAX_COHORT_SIZE) * min(shared[run.id] for run in group) for group in groups.values()
        )
        bound = max(bound, moment + (sum(own[run.id] for run in later) + cohorts) / slots)
    return bound


@final
@dataclass(frozen=True)
class Outcome:
    """What a schedule came to.

    Attributes:
        ratio: the makespan over the lower bound.
        busy: the busy share of the slots.
        error: the largest error of the time left from a tenth of the way on, relative to the makespan.
        unfinished: the number of runs that did not finish.
    """

    ratio: float
    busy: float
    error: float
    unfinished: int


def simulate(problem: Problem, slots: int, seed: int, gives_away: bool = True) -> Outcome:
    """Train a problem with the real scheduler in virtual time."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "results")
        machine = VirtualMachine(store, problem.costs, slots, seed)
        if not gives_away:
            machine.give_away = lambda job, runs: None  # type: ignore[method-assign]
        estimates: list[tuple[float, float]] = []

        def note(event: Event) -> None:
            if isinstance(event, TimeLeft):
                estimates.append((machine.clock, event.seconds))

        costs = CostModel(store, "virtual")
        scheduler = Scheduler(Workload(problem.runs, costs), store, machine, note, clock=lambda: machine.clock)
        scheduler.run()
        end = machine.clock
        unfinished = sum(not store.is_finished(run.id) for run in problem.runs)
    errors = [abs(time + left - end) / end for time, left in estimates if 0.1 * end <= time <= 0.9 * end]
    ratio, busy = end / lower_bound(problem, slots), machine.busy_seconds / end / slots
    return Outcome(ratio, busy, max(errors, default=0.0), unfinished)


def random_matrices(count: int) -> Iterator[Matrix]:
    """Yield random matrices of up to a few hundred runs."""
    chance = random.Random(1)
    for number in range(count):
        yield Matrix(
            f"random {number}",
            tuple(chance.uniform(2, 40) for _ in range(chance.randint(1, 4))),
            student=chance.uniform(0.1, 1.0),
            students=chance.randint(1, 24),
            seeds=chance.randint(1, 4),
            paired=chance.random() < 0.5,
            epochs=chance.choice((5, 10, 30, 60)),
            generations=chance.choice((0, 0, 0, 1, 2)),
        )


def main() -> None:
    """Print the table of the typical matrices, and a line for the random ones."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slots", type=int, nargs="+", default=SLOTS)
    parser.add_argument("--random", type=int, default=1000)
    parser.add_argument("--matrices", type=int, default=len(TYPICAL))
    parser.add_argument("--keep", action="store_true", help="jobs give no runs away")
    args = parser.parse_args()
    started = perf_counter()
    table: dict[int, list[Outcome]] = {slots: [] for slots in args.slots}
    _print("| matrix | runs | " + " | ".join(f"{slots} slots" for slots in args.slots) + " |")
    for seed, matrix in enumerate(TYPICAL[: args.matrices]):
        problem = make_problem(matrix, seed)
        outcomes = {slots: simulate(problem, slots, seed, not args.keep) for slots in args.slots}
        for slots, outcome in outcomes.items():
            table[slots].append(outcome)
        cells = " | ".join(f"{outcome.ratio:.2f}" for outcome in outcomes.values())
        _print(f"| {matrix.name} | {len(problem.runs)} | {cells} |")
    means = " | ".join(f"{statistics.geometric_mean(one.ratio for one in several):.3f}" for several in table.values())
    _print(f"| geometric mean | | {means} |")
    worst = " | ".join(f"{max(one.ratio for one in several):.3f}" for several in table.values())
    _print(f"| worst | | {worst} |")
    busy = " | ".join(f"{100 * statistics.mean(one.busy for one in several):.0f} %" for several in table.values())
    _print(f"| busy | | {busy} |")
    errors = " | ".join(f"{100 * max(one.error for one in several):.0f} %" for several in table.values())
    _print(f"| largest error of the time left | | {errors} |")
    found = [
        simulate(make_problem(matrix, seed), (2, 4, 8)[seed % 3], seed, not args.keep).ratio
        for seed, matrix in enumerate(random_matrices(args.random))
    ]
    if found:
        _print(
            f"{len(found)} random matrices on 2, 4 or 8 slots: geometric mean {statistics.geometric_mean(found):.3f}, "
            f"worst {max(found):.3f}"
        )
    _print(f"simulated in {perf_counter() - started:.0f} s")


def _print(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
