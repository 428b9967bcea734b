"""Relative Knowledge Distillation: vanilla distillation from adjusted teacher logits, in four versions.

Not to be confused with Park's Relational Knowledge Distillation, which compares embeddings.
"""

from abc import ABC
from typing import ClassVar, final

import torch
from torch import Tensor
from torch.nn import Module

from kdbench.errors import MethodError
from kdbench.methods.annotations import Alpha, Temperature
from kdbench.methods.losses import cross_entropy, kd_loss
from kdbench.methods.offline import Offline
from kdbench.training.method import Batch, Output


def relative_logits(teacher_logits: Tensor, labels: Tensor, version: int) -> Tensor:
    """Return the adjusted teacher logits (B, K) of version 1, 2, 3 or 4, for logits (B, K) and labels (B,).

    The others of a class are all logits but its own, in ascending order (of equal ones the lower index first); c_m is
    the sum of the absolute values of the first m. *Lower* subtracts from a class the largest c_m that leaves it at or
    above the others. *Raise* adds to it the smallest c_m that lifts it above the prediction, or all. The teacher is
    right where no logit is above the label's.

    1. Lower the label where the teacher is right; where it is wrong, all logits become 0.
    2. Lower the label where the teacher is right; raise it where it is wrong.
    3. As 2, and the others that were used become 0.
    4. Lower the prediction; the label is not used.

    Raises:
        MethodError: the version is unknown.
    """
    if version not in (1, 2, 3, 4):
        raise MethodError(f"the version of relative logits must be 1, 2, 3 or 4, got {version!r}")
    highest, predicted = teacher_logits.max(dim=1, keepdim=True)
    chosen = predicted if version == 4 else labels[:, None]
    is_chosen = torch.arange(teacher_logits.shape[1], device=labels.device) == chosen
    own = teacher_logits.gather(1, chosen)
    is_right = own >= highest
    # the chosen class sorts last, so that the columns before it are the others
    ordered, order = teacher_logits.masked_fill(is_chosen, torch.inf).sort(dim=1, stable=True)
    others = ordered[:, :-1]
    sums = others.abs().cumsum(dim=1)
    lowered = (own - sums >= others[:, -1:]).sum(dim=1, keepdim=True)
    raised = (1 + (own + sums <= highest).sum(dim=1, keepdim=True)).clamp(max=others.shape[1])
    count = torch.where(is_right, lowered, raised)
    moved = torch.cat([torch.zeros_like(own), sums], dim=1).gather(1, count)
    rest = teacher_logits.masked_fill(order.argsort(dim=1) < count, 0) if version == 3 else teacher_logits
    adjusted = torch.where(is_chosen, torch.where(is_right, own - moved, own + moved), rest)
    return adjusted.masked_fill(~is_right, 0) if version == 1 else adjusted


class RelativeKD(Offline, ABC):
    """`L = (1 - alpha) CE(z_s, y) + alpha T^2 KL(softmax(r(z_t) / T) || softmax(z_s / T))`, r of `relative_logits`."""

    reads = "logits"
    cuda_graph_safe = True
    adjustment: ClassVar[int]  # the version of `relative_logits`
    paper = "D'Amicantonio, thesis at the University of Bologna 2021"

    def __init__(self, student: Module, teacher: Module, *, alpha: Alpha = 0.3, temperature: Temperature = 5.0) -> None:
        super().__init__(student, teacher)
        self.alpha, self.temperature = alpha, temperature

    def losses(self, student: Output, teacher: Output, batch: Batch) -> dict[str, Tensor]:
        """Return the terms "ce" and "kl"."""
        targets = relative_logits(teacher.logits, batch.labels, self.adjustment)
        kl = kd_loss(student.logits, targets, self.temperature)
        return {"ce": (1 - self.alpha) * cross_entropy(student.logits, batch.labels), "kl": self.alpha * kl}


@final
class RelativeV1(RelativeKD):
    """`L = (1 - alpha) CE(z_s, y) + alpha T^2 KL(softmax(r(z_t) / T) || softmax(z_s / T))`, with logits z (B, K).

    r lowers the logit of the label where the teacher is right, and sets all logits to 0 where it is wrong.
    """

    adjustment = 1


@final
class RelativeV2(RelativeKD):
    """`L = (1 - alpha) CE(z_s, y) + alpha T^2 KL(softmax(r(z_t) / T) || softmax(z_s / T))`, with logits z (B, K).

    r lowers the logit of the label where the teacher is right, and raises it where the teacher is wrong.
    """

    adjustment = 2


@final
class RelativeV3(RelativeKD):
    """`L = (1 - alpha) CE(z_s, y) + alpha T^2 KL(softmax(r(z_t) / T) || softmax(z_s / T))`, with logits z (B, K).

    r is that of version 2, and the logits that were subtracted or added become 0.
    """

    adjustment = 3


@final
class RelativeV4(RelativeKD):
    """`L = (1 - alpha) CE(z_s, y) + alpha T^2 KL(softmax(r(z_t) / T) || softmax(z_s / T))`, with logits z (B, K).

    r lowers the logit of the teacher's prediction, whether it is right or wrong.
    """

    adjustment = 4
