"""Snapshot distillation: a network learns from its own weights at the end of the previous learning-rate cycle."""

import copy
from collections.abc import Iterator
from typing import Annotated, final

import torch
import torch.nn.functional as F
from annotated_types import Ge
from torch import Tensor, nn

from kdbench.hyperparameters import Tune
from kdbench.matrix.recipe import Cosine
from kdbench.methods.annotations import Temperature
from kdbench.methods.losses import cross_entropy, in_float32
from kdbench.training.method import Batch, Method, OptimizerSpec, Step
from kdbench.training.network import Frozen
from kdbench.training.schedule import cycle_at


@final
class Snapshot(Method):
    """`L = (1 + 1 / T) CE(z_s, y) + H(softmax(z_t / T), softmax(z_s))`, with logits z (B, K).

    In the first cycle `L = CE(z_s, y)`. Later z_t are the logits of the network with the weights and running statistics
    that it had when the cycle began.
    The temperature applies to that teacher only. In every cycle the learning rate follows a cosine from start to end.
    The number of epochs is the run's: the same budget as for any other method.
    """

    paper = "Yang, Xie, Su, Yuille, CVPR 2019, arXiv:1812.00123"

    def __init__(
        self,
        student: nn.Module,
        *,
        cycles: Annotated[int, Ge(1)] = 4,
        temperature: Annotated[Temperature, Tune(1, 10, log=True)] = 2.0,
    ) -> None:
        super().__init__()
        self.student = student
        self.cycles = cycles
        self.temperature = temperature
        self.snapshot = Frozen(copy.deepcopy(student))
        self.cycle = 0  # in which the snapshot was taken; reading a buffer would wait for the GPU

    def steps(self, batch: Batch) -> Iterator[Step]:
        """Yield one step with the terms "ce" and, from the second cycle on, "soft"."""
        cycle, _ = cycle_at(batch.progress, self.cycles)
        if cycle > self.cycle:
            self._take_snapshot(cycle)
        logits = self.student(batch.images).logits
        ce = cross_entropy(logits, batch.labels)
        if cycle == 0:
            yield Step({"ce": ce})
        else:
            soft = soft_cross_entropy(logits, self.snapshot(batch.images).logits, self.temperature)
            yield Step({"ce": (1 + 1 / self.temperature) * ce, "soft": soft})

    def optimizers(self) -> dict[str, OptimizerSpec]:
        """Return the recipe's optimizer with a cosine schedule that restarts in every cycle."""
        return {"student": OptimizerSpec(schedule=Cosine(), cycles=self.cycles)}

    def get_extra_state(self) -> Tensor:
        """Return the cycle as a tensor, for `state_dict`."""
        return torch.tensor(self.cycle)

    def set_extra_state(self, state: Tensor) -> None:
        """Set the cycle, for `load_state_dict`."""
        self.cycle = int(state)

    def _take_snapshot(self, cycle: int) -> None:
        self.snapshot.network.load_state_dict(self.student.state_dict())
        self.snapshot.clear_cache()
        self.cycle = cycle


@in_float32
def soft_cross_entropy(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """Return H(softmax(z_t / T), softmax(z_s)) of logits (B, K), averaged over the batch."""
    return F.cross_entropy(student_logits, F.softmax(teacher_logits / temperature, dim=1))
