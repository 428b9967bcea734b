"""How long a whole matrix takes on this machine, from a few steps of each kind of run in it.

    python benchmarks/projection.py matrices/thesis.toml [--only cifar10_224] [--steps 2]

The matrix is planned as `kdbench plan` does, so no data are needed, and its runs are grouped into cohorts as the queue
groups them: those that can begin at once, then those that need their runs, and so on. Cohorts that see equally large
batches and have the same network for a teacher are of one kind. In each kind every member that differs in its network,
methods, teachers, peers or optimizer trains for a few steps, alone in a `CohortLoop` of its own, on random images and with
random weights: on the first GPU, or on the processor with the threads of one worker. The loop's own clocks give what
all members share (the batch, the teacher) and what is the member's own, so that a cohort takes, a step, the shared
seconds once and the sum of its members' own. Hyperparameters are those of the first member that is found.

Printed are, for each kind: how many cohorts and members, the steps of an epoch, the epochs, the seconds of an epoch of
its slowest cohort with the scores on validation, and the hours of all its cohorts, one after the other; then the sum,
divided by the number of slots.
"""

import argparse
import gc
import os
import resource
import sys
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

import torch
from children import tell
from vanilla import WARM_UP, Short

from kdbench import data, methods, models
from kdbench.data.splits import split
from kdbench.errors import KdbenchError
from kdbench.matrix import RunSpec, load
from kdbench.plan import batches_key, make_plan
from kdbench.queue.devices import slots
from kdbench.queue.executors.base import environment
from kdbench.queue.grouping import QueuedRun, group_runs
from kdbench.training import loop
from kdbench.training.cuda_graphs import recorder
from kdbench.training.evaluation import logits_of
from kdbench.training.member import Member
from kdbench.training.memory import clear_frames, is_out_of_memory
from kdbench.training.method import Task
from kdbench.training.network import Frozen
from kdbench.training.static_batches import GraphedTeacher, StaticBatches
from kdbench.training.stopwatch import Stopwatch
from kdbench.worker.build import build_method, prepare
from kdbench.worker.cohort_data import CohortData, ImageSplit, batches
from kdbench.worker.job_runner import set_up_torch
from kdbench.worker.memory import free_memory
from kdbench.worker.options import Options

STEPS = {"cpu": 2, "cuda": 20}
SCORED = {"cpu": 128, "cuda": 1024}  # validation images at most, from whose time that of all follows
COLUMNS = ("cohorts", "members", "steps", "epochs", "s an epoch", "hours")
WIDTHS = (9, 9, 9, 9, 15, 11)
LEFT_OUT = """\
Not counted: the start of processes, reading the data, scores on test images, timing inference, checkpoints; what
workers lose to one another, slots that wait, cohorts that must be halved for want of memory; what early stopping,
teachers repeated from disk, and recorded runs that a GPU trains at the same time save."""


@final
@dataclass(frozen=True, eq=False)
class Kind:
    """Cohorts that see equally large batches and have the same network for a teacher."""

    cohorts: Sequence[Sequence[RunSpec]]
    task: Task
    validation: int  # images

    @property
    def first(self) -> RunSpec:
        """A run that stands for all where they do not differ."""
        return self.cohorts[0][0]

    @property
    def members(self) -> list[RunSpec]:
        """The runs of all cohorts."""
        return [run for cohort in self.cohorts for run in cohort]

    @property
    def steps(self) -> int:
        """Of an epoch."""
        recipe, full = self.first.recipe, self.task.train_size // self.first.recipe.batch_size
        opens_images = any(methods.find(part.name).data == "train" for part in self.first.parts)
        return full if opens_images else recipe.steps_per_epoch or max(1, full)

    def __str__(self) -> str:
        recipe, runs = self.first.recipe, self.members
        teachers = ", ".join(sorted({run.teacher.student.name for run in runs if run.teacher})) or "no teacher"
        students, names = sorted({run.student.name for run in runs}), sorted({run.method for run in runs})
        views = max(methods.find(part.name).views for part in self.first.parts)
        size = f"{'x'.join(map(str, self.task.image_shape))}, batches of {recipe.batch_size}, {views} views"
        networks = f"{teachers} -> {', '.join(students)}"
        return f"{self.first.dataset.name}: {networks}; {', '.join(names)}; {size}, {recipe.precision}"


@final
@dataclass(frozen=True)
class Cost:
    """Seconds of a step, shared and of a member's own; and of its scores, once an epoch."""

    shared: float
    own: float
    scores: float


def main() -> None:
    """Print the table and the sum."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("matrix", type=Path)
    parser.add_argument(
        "--only", default="", metavar="SUBSTRING", help="measure only data sets with this in their name"
    )
    parser.add_argument("--steps", type=int, help="default: 2 on the processor, 20 on a GPU")
    asked = parser.parse_args()
    try:
        _project(asked.matrix, asked.only, asked.steps)
    except KdbenchError as error:
        raise SystemExit(str(error)) from None


def _project(file: Path, only: str, steps: int | None) -> None:
    matrix = load(file)
    threads = matrix.run.threads or 1
    if "MALLOC_TRIM_THRESHOLD_" not in os.environ:  # it must be there when the process starts
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **environment(threads)})
    places = slots(matrix.run.devices, matrix.run.workers, threads, matrix.run.runs_per_device)
    device = torch.device(places[0].device)
    torch.set_num_threads(threads)
    _bound_memory(device)
    set_up_torch(device)
    tell(_line(COLUMNS, "kind"))
    hours, missing = 0.0, 0
    options = Options(compile=matrix.run.compile, cuda_graphs=matrix.run.cuda_graphs)
    for kind in _kinds(make_plan(matrix, provisional=True).runs, len(places)):
        wanted = only in kind.first.dataset.name
        epochs = _epochs(kind, steps or STEPS[device.type], device, options) if wanted else None
        _tell_row(kind, epochs, "out of memory" if wanted else "not measured")
        hours += _hours(kind, epochs or [])
        missing += epochs is None
    where = f"{len(places)} slots ({device.type}, threads: {threads})"
    of_one, on_all = _figure(hours), _figure(hours / len(places))
    tell(f"{of_one} hours of one slot, {on_all} hours on {where}; kinds without a time: {missing}")
    tell(LEFT_OUT)


def _bound_memory(device: torch.device) -> None:
    """Have a processor's memory run out for us alone, with an error, and not for the whole machine."""
    if device.type == "cpu":
        most = int(0.8 * free_memory(device))
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))


def _tell_row(kind: Kind, epochs: Sequence[float] | None, without: str) -> None:
    counts = (len(kind.cohorts), len(kind.members), kind.steps, kind.first.recipe.epochs)
    times = (without, "-") if epochs is None else (_figure(max(epochs)), _figure(_hours(kind, epochs)))
    tell(_line((*counts, *times), str(kind)))


def _line(cells: Sequence[object], kind: str) -> str:
    return "".join(f"{cell:>{width}}" for cell, width in zip(cells, WIDTHS, strict=True)) + f"  {kind}"


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _hours(kind: Kind, epochs: Sequence[float]) -> float:
    return sum(epochs) * kind.first.recipe.epochs / 3600


def _kinds(runs: Sequence[RunSpec], places: int) -> list[Kind]:
    """The kinds of cohort, in the order in which they begin."""
    found: dict[tuple[str, str], list[list[RunSpec]]] = {}
    for cohort in _cohorts(runs, places):
        teacher = next((run.teacher.student.canonical for run in cohort if run.teacher), "")
        found.setdefault((batches_key(replace(cohort[0], seed=0)), teacher), []).append(cohort)
    return [Kind(cohorts, *_sizes(cohorts[0][0])) for cohorts in found.values()]


def _cohorts(runs: Sequence[RunSpec], places: int) -> Iterator[list[RunSpec]]:
    """Those whose runs need no other, then those that need these, and so on."""
    waiting, done = [QueuedRun(run, batches_key(run)) for run in runs], set[str]()
    while waiting:
        ready = [item for item in waiting if all(need.id in done for _, need in item.spec.needs)]
        for cohort in group_runs(ready, places):
            yield [item.spec for item in cohort]
        done |= {item.spec.id for item in ready}
        waiting = [item for item in waiting if item.spec.id not in done]


def _sizes(run: RunSpec) -> tuple[Task, int]:
    """What a method may know of the data set, and the number of validation images."""
    loaded = data.load(run.dataset) if run.dataset.fingerprint else data.outline(run.dataset)
    parts = split(loaded.train_labels, run.split.validation, run.split.split_seed, run.recipe.train_samples)
    task = Task(loaded.num_classes, len(parts.train), loaded.image_shape, run.recipe.batch_size)
    return task, len(parts.validation)


def _epochs(kind: Kind, steps: int, device: torch.device, options: Options) -> list[float] | None:
    """Seconds of an epoch of each cohort; None where memory does not do for one of the members."""
    costs: dict[Hashable, Cost] = {}
    try:
        for run in kind.members:
            if _alike(run) not in costs:
                costs[_alike(run)] = _cost(run, kind, steps, device, options)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        clear_frames(error)  # they hold the networks
        return None
    finally:
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()
    return [_epoch(kind.steps, [costs[_alike(run)] for run in cohort]) for cohort in kind.cohorts]


def _alike(run: RunSpec) -> Hashable:
    """Equal for members of a kind that take equally long."""
    needs = tuple((role, need.student.canonical) for role, need in run.needs)
    peers = tuple(peer.canonical for peer in run.peers)
    return run.student.canonical, run.method, needs, peers, run.recipe.optimizer.name


def _epoch(steps: int, members: Sequence[Cost]) -> float:
    shared = max(cost.shared for cost in members)  # that of a member without a teacher lacks the teacher
    return steps * (shared + sum(cost.own for cost in members)) + sum(cost.scores for cost in members)


def _cost(run: RunSpec, kind: Kind, steps: int, device: torch.device, options: Options) -> Cost:
    """The cost of one member, from a cohort of its own that is warmed up for an epoch and measured in the next."""
    if not run.recipe.epochs:
        return Cost(0.0, 0.0, 0.0)
    warm_up, scored = WARM_UP[device.type], min(kind.validation, SCORED[device.type])
    member, frozen = _member(run, kind.task, device, options)
    material = _random(kind.task, max(warm_up, steps) * run.recipe.batch_size, scored, device)
    opens_images = member.method.data == "train"
    short: loop.Batches = Short(batches(run, material, member.method.views, opens_images), (warm_up, steps))
    watch = Stopwatch(device)

    def score(one: Member) -> dict[str, float]:
        if scored:
            with watch.running():
                network = next(iter(one.method.deployed().values()))
                logits_of(network, material.validation.batches(), run.recipe.precision)
        return {}

    if member.records:
        short = StaticBatches(short)
    asked = {one: GraphedTeacher(one, queue) for one in frozen if member.records and (queue := recorder(device))}
    teachers = frozen if opens_images else []
    cohort = loop.CohortLoop([member], short, teachers, score, lambda epoch, active: None, asked)
    cohort.train(1)
    before = cohort.shared_seconds, member.seconds, watch.seconds
    cohort.train(2, 1)
    if member.error is not None:
        raise member.error
    shared, own, scores = (
        after - was for after, was in zip((cohort.shared_seconds, member.seconds, watch.seconds), before, strict=True)
    )
    return Cost(shared / steps, own / steps, scores * kind.validation / scored if scored else 0.0)


def _member(run: RunSpec, task: Task, device: torch.device, options: Options) -> tuple[Member, list[Frozen]]:
    """A run made ready as a worker does, all its networks with random weights; and its teacher."""
    known: dict[str, Frozen] = {}

    def untrained(need: RunSpec) -> Frozen:
        if need.id not in known:
            known[need.id] = Frozen(prepare(models.build_spec(need.student, task), device, options.compile))
        return known[need.id]

    bare = replace(run, student=run.student.untrained(), peers=tuple(peer.untrained() for peer in run.peers))
    method = build_method(bare, task, device, untrained, options.compile)
    queue = recorder(device) if options.cuda_graphs else None
    return Member(run.id, method, run.recipe, run.seed, queue), [known[run.teacher.id]] if run.teacher else []


def _random(task: Task, train: int, validation: int, device: torch.device) -> CohortData:
    """As many random images as are looked at."""

    def images(count: int) -> ImageSplit:
        pixels = torch.randint(0, 256, (count, *task.image_shape), dtype=torch.uint8, device=device)
        channels = task.image_shape[0]
        labels = torch.arange(count, device=device) % task.num_classes
        return ImageSplit(pixels, labels, (0.5,) * channels, (0.25,) * channels)

    return CohortData(task, images(train), images(validation), images(0))


if __name__ == "__main__":
    main()
