"""Vanilla distillation with kdbench on random images of CIFAR-100's shape, for the benchmarks. Not a script."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal, final

import torch
from torch import Tensor, nn

from kdbench import methods, models
from kdbench.data.batches import Batches
from kdbench.matrix.recipe import Crop, Flip, Recipe, Sgd
from kdbench.training import loop
from kdbench.training.cuda_graphs import make_recorder
from kdbench.training.member import Member
from kdbench.training.method import Batch
from kdbench.training.network import Frozen
from kdbench.training.static_batches import GraphedTeacher, StaticBatches
from kdbench.worker.build import prepare
from kdbench.worker.job_runner import set_up_torch
from kdbench.worker.options import Options

CLASSES, SHAPE, BATCH, RATE = 100, (3, 32, 32), 64, 0.05
MEAN, STD = (0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)
WARM_UP = {"cpu": 1, "cuda": 10}  # steps before the timed ones

DEFAULT = Options()

Configurations = Sequence[tuple[float, float]]  # alpha, temperature


@final
@dataclass(frozen=True)
class FirstBatches:
    """The first batches of two epochs: the first epoch is for warm-up, the second is timed."""

    batches: loop.Batches
    steps: tuple[int, int]

    def epoch(self, epoch: int, epochs: int) -> Iterator[Batch]:
        """Yield the first batches of an epoch, counted from 0."""
        return islice(self.batches.epoch(epoch, epochs), self.steps[epoch])


def random_images(count: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return images (N, C, H, W) uint8 and labels (N,)."""
    images = torch.randint(0, 256, (count, *SHAPE), dtype=torch.uint8, device=device)
    return images, torch.randint(0, CLASSES, (count,), device=device)


def make_network(name: str) -> nn.Module:
    """Return a network for these images."""
    return models.build(name, num_classes=CLASSES, image_shape=SHAPE)


def make_cohort(
    pair: str,
    precision: Literal["bf16", "fp32"],
    steps: int,
    configurations: Configurations,
    device: torch.device,
    options: Options = DEFAULT,
) -> Callable[[], None]:
    """Set up and warm up a cohort with a member per configuration, as in a worker; return a function that trains it."""
    set_up_torch(device)
    warm_up = WARM_UP[device.type]
    recipe = Recipe(epochs=2, batch_size=BATCH, precision=precision, optimizer=Sgd(lr=RATE), augment=(Crop(), Flip()))
    teacher_name, student_name = pair.split(":")
    teacher = Frozen(prepare(make_network(teacher_name), device, options.compile))
    recorder = make_recorder(device) if options.cuda_graphs else None

    def make_member(alpha: float, temperature: float) -> Member:
        parameters = {"vanilla": {"alpha": alpha, "temperature": temperature}}
        student = prepare(make_network(student_name), device, options.compile)
        method = methods.create(["vanilla"], student=student, teacher=teacher, parameters=parameters)
        return Member("", method, recipe, 0, make_recorder(device) if options.cuda_graphs else None)

    images, labels = random_images(max(warm_up, steps) * BATCH, device)
    batches = Batches(images, labels, torch.arange(len(labels)), mean=MEAN, std=STD, recipe=recipe, seed=0)
    members = [make_member(*configuration) for configuration in configurations]
    first: loop.Batches = FirstBatches(batches, (warm_up, steps))
    forwards = {teacher: GraphedTeacher(teacher, recorder)} if recorder else None
    static = StaticBatches(first) if recorder else first
    cohort_loop = loop.CohortLoop(members, static, [teacher], lambda member: {}, lambda epoch, active: None, forwards)
    cohort_loop.train(1)

    def train() -> None:
        cohort_loop.train(2, 1)
        for member in members:
            if member.error is not None:
                raise member.error

    return train
