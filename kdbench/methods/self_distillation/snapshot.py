"""Snapshot distillation: a network learns from what it was at the end of its last learning-rate cycle."""

import copy
from collections.abc import Iterator
from typing import Annotated, final

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt
from torch import Tensor, nn

from kdbench.hyperparameters import Tune
from kdbench.matrix.recipe import Cosine
from kdbench.methods.losses import cross_entropy, in_float32
from kdbench.training.method import Batch, Method, OptimizerSpec, Step
from kdbench.training.network import Frozen
from kdbench.training.schedule import cycle_at


@final
class Snapshot(Method):
    """L = (1 + 1 / T) CE(z_s, y) + H(softmax(z_t / T), softmax(z_s)); in the first cycle CE alone, with weight 1.

    z_t are the logits (B, K) of the network as it was, with its running statistics, when the present cycle began. The
    temperature is on that teacher only. The rate follows a cosine from start to end in every cycle. The number of
    epochs is the run's: the same budget as for any other method.
    """

    paper = "Yang, Xie, Su, Yuille, CVPR 2019, arXiv:1812.00123"

    def __init__(
        self,
        student: nn.Module,
        *,
        cycles: Annotated[int, Ge(1)] = 4,
        temperature: Annotated[float, Gt(0), Tune(1, 10, log=True)] = 2.0,
    ) -> None:
        super().__init__()
        self.student = student
        self.cycles = cycles
        self.temperature = temperature
        self.past = Frozen(copy.deepcopy(student))
        self.cycle = 0  # at whose beginning the past was taken; a buffer would stall the GPU whenever it is read

    def steps(self, batch: Batch) -> Iterator[Step]:
        """One step a batch; terms "ce" and, from the second cycle on, "soft"."""
        cycle, _ = cycle_at(batch.progress, self.cycles)
        if cycle > self.cycle:
            self._look_back(cycle)
        logits = self.student(batch.images).logits
        ce = cross_entropy(logits, batch.labels)
        if cycle == 0:
            yield Step({"ce": ce})
        else:
            soft = soft_cross_entropy(logits, self.past(batch.images).logits, self.temperature)
            yield Step({"ce": (1 + 1 / self.temperature) * ce, "soft": soft})

    def players(self) -> dict[str, nn.Module]:
        """The student."""
        return {"student": self.student}

    def deployed(self) -> dict[str, nn.Module]:
        """The student."""
        return {"student": self.student}

    def optimizers(self) -> dict[str, OptimizerSpec]:
        """The recipe's optimizer on a cosine that restarts with every cycle."""
        return {"student": OptimizerSpec(schedule=Cosine(), cycles=self.cycles)}

    def get_extra_state(self) -> Tensor:
        """The cycle as a tensor, for `state_dict`; the past is there by itself."""
        return torch.tensor(self.cycle)

    def set_extra_state(self, state: Tensor) -> None:
        """Called by `load_state_dict`."""
        self.cycle = int(state)

    def _look_back(self, cycle: int) -> None:
        self.past.network.load_state_dict(self.student.state_dict())
        self.past.clear_cache()
        self.cycle = cycle


@in_float32
def soft_cross_entropy(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """H(softmax(z_t / T), softmax(z_s)) of logits (B, K), mean over the batch."""
    return F.cross_entropy(student_logits, F.softmax(teacher_logits / temperature, dim=1))
