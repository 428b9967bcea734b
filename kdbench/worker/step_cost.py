"""Seconds of one step of a run, measured on random images with random weights."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import final

import torch

from kdbench import models
from kdbench.matrix import RunSpec
from kdbench.training import loop
from kdbench.training.cuda_graphs import make_recorder
from kdbench.training.evaluation import compute_logits
from kdbench.training.member import Member
from kdbench.training.method import Batch, Task
from kdbench.training.network import Frozen
from kdbench.training.static_batches import GraphedTeacher, StaticBatches
from kdbench.training.stopwatch import Stopwatch
from kdbench.worker.build import build_method, prepare
from kdbench.worker.cohort_data import CohortData, ImageSplit, make_batches
from kdbench.worker.options import Options

WARM_UP = {"cpu": 1, "cuda": 10}  # steps before the timed ones
TIMED = {"cpu": 2, "cuda": 20}  # timed steps
EVALUATED = {"cpu": 128, "cuda": 1024}  # validation images at most; the time of all of them is extrapolated


@final
@dataclass(frozen=True)
class StepCost:
    """Seconds that one run costs.

    Attributes:
        shared: seconds per step of the work that all runs of a cohort share: the batch and the teacher's forward.
        own: seconds per step of the run's own work.
        evaluation: seconds per epoch of scoring the validation images.
    """

    shared: float
    own: float
    evaluation: float


def measure_step_cost(run: RunSpec, task: Task, validation: int, device: torch.device, options: Options) -> StepCost:
    """Train a run for a few steps, alone in a cohort of its own.

    Args:
        run: the run; the files of its data set, its weights and the runs that it needs are not read.
        task: the run's task.
        validation: number of validation images.
        device: where to train.
        options: how workers train (`compile`, `cuda_graphs`).

    Raises:
        MemoryError, RuntimeError: the run does not fit into memory.
        KdbenchError: its method or a network cannot be built, or a step fails.
    """
    if not run.recipe.epochs:
        return StepCost(0.0, 0.0, 0.0)
    steps, evaluated = TIMED[device.type], min(validation, EVALUATED[device.type])
    member, teachers = _build(run, task, device, options)
    data = _random_data(task, max(WARM_UP[device.type], steps) * run.recipe.batch_size, evaluated, device)
    watch = Stopwatch(device)
    cohort = _cohort(run, member, teachers, data, watch)
    cohort.train(1)
    before = cohort.shared_seconds(member), member.seconds, watch.seconds
    cohort.train(2, 1)
    if member.error is not None:
        raise member.error
    after = cohort.shared_seconds(member), member.seconds, watch.seconds
    shared, own, evaluation = (end - start for end, start in zip(after, before, strict=True))
    return StepCost(shared / steps, own / steps, evaluation * validation / evaluated if evaluated else 0.0)


@final
@dataclass(frozen=True)
class _FirstBatches:
    """The first batches of two epochs: of epoch 0 to warm up, of epoch 1 to be timed."""

    batches: loop.Batches
    counts: tuple[int, int]

    def epoch(self, epoch: int, epochs: int) -> Iterator[Batch]:
        return islice(self.batches.epoch(epoch, epochs), self.counts[epoch])


def _cohort(
    run: RunSpec, member: Member, teachers: list[Frozen], data: CohortData, watch: Stopwatch
) -> loop.CohortLoop:
    device = member.device
    reads_images = member.method.data == "train"
    drawn = make_batches(run, data, member.method.views, reads_images)
    first: loop.Batches = _FirstBatches(drawn, (WARM_UP[device.type], TIMED[device.type]))

    def evaluate(one: Member) -> dict[str, float]:
        if len(data.validation.labels):
            with watch.running():
                network = next(iter(one.method.deployed().values()))
                compute_logits(network, data.validation.batches())
        return {}

    if member.uses_cuda_graph:
        first = StaticBatches(first)
    graphed = {
        one: GraphedTeacher(one, recorder)
        for one in teachers
        if member.uses_cuda_graph and (recorder := make_recorder(device))
    }
    shared = teachers if reads_images else []
    return loop.CohortLoop([member], first, shared, evaluate, lambda epoch, active: None, graphed)


def _build(run: RunSpec, task: Task, device: torch.device, options: Options) -> tuple[Member, list[Frozen]]:
    """Return the run as a worker builds it, but with random weights in all networks, and its teacher."""
    built: dict[str, Frozen] = {}

    def untrained(need: RunSpec) -> Frozen:
        if need.id not in built:
            built[need.id] = Frozen(prepare(models.build_from_spec(need.student, task), device, options.compile))
        return built[need.id]

    bare = replace(run, student=run.student.untrained(), peers=tuple(peer.untrained() for peer in run.peers))
    method = build_method(bare, task, device, untrained, options.compile)
    recorder = make_recorder(device) if options.cuda_graphs else None
    return Member(run.id, method, run.recipe, run.stream_seed, recorder), [built[run.teacher.id]] if run.teacher else []


def _random_data(task: Task, train: int, validation: int, device: torch.device) -> CohortData:
    def images(count: int) -> ImageSplit:
        pixels = torch.randint(0, 256, (count, *task.image_shape), dtype=torch.uint8, device=device)
        channels = task.image_shape[0]
        labels = torch.arange(count, device=device) % task.num_classes
        return ImageSplit(pixels, labels, (0.5,) * channels, (0.25,) * channels)

    return CohortData(task, images(train), images(validation), images(0))
