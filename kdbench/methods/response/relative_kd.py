"""Relative Knowledge Distillation: vanilla distillation from adjusted teacher logits, in four versions.

Not to be confused with Park's Relational Knowledge Distillation, which compares embeddings.
"""

from abc import ABC, abstractmethod
from typing import Annotated, Any, final

import torch
from annotated_types import Ge, Gt, Le
from torch import Tensor, nn

from kdbench.errors import MethodError
from kdbench.hyperparameters import Tune
from kdbench.methods.losses import cross_entropy, kd_loss
from kdbench.methods.offline import Offline, Reads
from kdbench.methods.requirements import same_classes
from kdbench.training.method import Batch, Output, Shapes, Task


def relative_logits(teacher_logits: Tensor, labels: Tensor, version: int) -> Tensor:
    """The adjusted teacher logits (B, K) of version 1, 2, 3 or 4, from logits (B, K) and labels (B,).

    "The others" of a class are all logits but its own, by ascending value (of equal ones the lower index first); c_m is
    the sum of the absolute values of the first m. *Lower* takes the largest c_m from a class that leaves it at or above
    the others; *raise* adds the smallest c_m that lifts it above the prediction, or all. A tie counts as right.

    1: lower the label where the teacher is right; where it is wrong all logits become 0.
    2: lower the label where right, raise it where wrong.
    3: as 2, and the others that were used become 0.
    4: lower the prediction; the label is not looked at.

    Raises:
        MethodError: there is no such version.
    """
    if version not in (1, 2, 3, 4):
        raise MethodError(f"the version of relative logits must be 1, 2, 3 or 4, got {version!r}")
    highest, predicted = teacher_logits.max(dim=1, keepdim=True)
    chosen = predicted if version == 4 else labels[:, None]
    is_chosen = torch.arange(teacher_logits.shape[1], device=labels.device) == chosen
    own = teacher_logits.gather(1, chosen)
    right = own >= highest
    # the chosen class sorts last, so that the columns before it are the others
    ordered, places = teacher_logits.masked_fill(is_chosen, torch.inf).sort(dim=1, stable=True)
    others = ordered[:, :-1]
    sums = others.abs().cumsum(dim=1)
    lowered = (own - sums >= others[:, -1:]).sum(dim=1, keepdim=True)
    raised = (1 + (own + sums <= highest).sum(dim=1, keepdim=True)).clamp(max=others.shape[1])
    count = torch.where(right, lowered, raised)
    moved = torch.cat([torch.zeros_like(own), sums], dim=1).gather(1, count)
    spared = teacher_logits.masked_fill(places.argsort(dim=1) < count, 0) if version == 3 else teacher_logits
    adjusted = torch.where(is_chosen, torch.where(right, own - moved, own + moved), spared)
    return adjusted.masked_fill(~right, 0) if version == 1 else adjusted


class RelativeKD(Offline, ABC):
    """L = (1 - alpha) CE(z_s, y) + alpha T^2 KL(softmax(r(z_t) / T) || softmax(z_s / T)), r of `relative_logits`."""

    paper = "D'Amicantonio, thesis at the University of Bologna 2021"
    reads: Reads = "logits"
    cuda_graph_safe = True

    def __init__(
        self,
        student: nn.Module,
        teacher: nn.Module,
        *,
        alpha: Annotated[float, Ge(0), Le(1), Tune(0.05, 0.95)] = 0.3,
        temperature: Annotated[float, Gt(0), Tune(1, 20, log=True)] = 5.0,
    ) -> None:
        super().__init__(student, teacher)
        self.alpha = alpha
        self.temperature = temperature

    @abstractmethod
    def targets(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The teacher's logits (B, K), adjusted."""

    def losses(self, student: Output, teacher: Output, batch: Batch) -> dict[str, Tensor]:
        """Terms "ce" and "kl"."""
        targets = self.targets(teacher.logits, batch.labels)
        return {
            "ce": (1 - self.alpha) * cross_entropy(student.logits, batch.labels),
            "kl": self.alpha * kd_loss(student.logits, targets, self.temperature),
        }

    @classmethod
    def incompatible(cls, student: Shapes, teacher: Shapes | None, task: Task, **hyperparameters: Any) -> str | None:
        """Other classes than the teacher's."""
        return same_classes(student, teacher)


@final
class RelativeV1(RelativeKD):
    """The label lowered where the teacher is right, a uniform target where it is wrong."""

    def targets(self, logits: Tensor, labels: Tensor) -> Tensor:
        return relative_logits(logits, labels, version=1)


@final
class RelativeV2(RelativeKD):
    """The label lowered where the teacher is right, raised where it is wrong."""

    def targets(self, logits: Tensor, labels: Tensor) -> Tensor:
        return relative_logits(logits, labels, version=2)


@final
class RelativeV3(RelativeKD):
    """As version 2, and the logits that were used become 0."""

    def targets(self, logits: Tensor, labels: Tensor) -> Tensor:
        return relative_logits(logits, labels, version=3)


@final
class RelativeV4(RelativeKD):
    """The prediction lowered, right or wrong."""

    def targets(self, logits: Tensor, labels: Tensor) -> Tensor:
        return relative_logits(logits, labels, version=4)
