"""What benchmarks train: vanilla distillation on random images of CIFAR-100's shape, as kdbench does it. No script."""

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
WARM_UP = {"cpu": 1, "cuda": 10}  # steps before those that are timed

PLAIN = Options()

Configurations = Sequence[tuple[float, float]]  # alpha, temperature


@final
@dataclass(frozen=True)
class Short:
    """Batches of which an epoch has no more than a number for each: the first to warm up, the second to be timed."""

    batches: loop.Batches
    steps: tuple[int, int]

    def epoch(self, epoch: int, epochs: int) -> Iterator[Batch]:
        """The first batches of an epoch, from 0."""
        return islice(self.batches.epoch(epoch, epochs), self.steps[epoch])


def photographs(count: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Images (N, C, H, W) uint8 and labels (N,)."""
    images = torch.randint(0, 256, (count, *SHAPE), dtype=torch.uint8, device=device)
    return images, torch.randint(0, CLASSES, (count,), device=device)


def network(name: str) -> nn.Module:
    """A network for them."""
    return models.build(name, num_classes=CLASSES, image_shape=SHAPE)


def cohort(
    pair: str,
    precision: Literal["bf16", "fp32"],
    steps: int,
    configurations: Configurations,
    device: torch.device,
    options: Options = PLAIN,
) -> Callable[[], None]:
    """A cohort with a member for each configuration, set up as in a worker and warmed up; gives what trains `steps` steps."""
    set_up_torch(device)
    warm_up = WARM_UP[device.type]
    recipe = Recipe(epochs=2, batch_size=BATCH, precision=precision, optimizer=Sgd(lr=RATE), augment=(Crop(), Flip()))
    teacher_name, student_name = pair.split(":")
    teacher = Frozen(prepare(network(teacher_name), device, options.compile))
    queue = make_recorder(device) if options.cuda_graphs else None

    def member(alpha: float, temperature: float) -> Member:
        given = {"vanilla": {"alpha": alpha, "temperature": temperature}}
        student = prepare(network(student_name), device, options.compile)
        method = methods.create(["vanilla"], student=student, teacher=teacher, parameters=given)
        return Member("", method, recipe, 0, make_recorder(device) if options.cuda_graphs else None)

    images, labels = photographs(max(warm_up, steps) * BATCH, device)
    drawn = Batches(images, labels, torch.arange(len(labels)), mean=MEAN, std=STD, recipe=recipe, seed=0)
    members = [member(*configuration) for configuration in configurations]
    short: loop.Batches = Short(drawn, (warm_up, steps))
    asked = {teacher: GraphedTeacher(teacher, queue)} if queue else None
    held = StaticBatches(short) if queue else short
    together = loop.CohortLoop(members, held, [teacher], lambda one: {}, lambda epoch, active: None, asked)
    together.train(1)

    def train() -> None:
        together.train(2, 1)
        for one in members:
            if one.error is not None:
                raise one.error

    return train
