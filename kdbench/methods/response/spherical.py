"""Spherical knowledge distillation: logits are compared by direction, at the teacher's mean length."""

from typing import Any, Literal, final

import torch.nn.functional as F
from torch import Tensor, nn

from kdbench.methods.annotations import Alpha, Temperature
from kdbench.methods.losses import cross_entropy, in_float32, kd_loss
from kdbench.methods.offline import Offline
from kdbench.training.method import Batch, Output

MIN_LENGTH = 1e-6  # shorter logits have no direction, and a gradient of 1 / length
Normalize = Literal["l2", "standardize"]


@final
class Spherical(Offline):
    """`L = (1 - alpha) CE(n_s, y) + alpha T^2 KL(softmax(n_t / T) || softmax(n_s / T))`, with logits z (B, K).

    - `normalize = "l2"` (default): `n = m z / ||z||`, where m is the mean of `||z_t||` over the batch (no gradient).
    - `normalize = "standardize"`: the logits of each image are centered first.

    The loss does not depend on the length of z_s, so NLL and ECE of the student mean nothing and are blank.
    """

    reads = "logits"
    calibrated = False
    cuda_graph_safe = True
    paper = "Guo et al., 2020, arXiv:2010.07485"

    def __init__(
        self,
        student: nn.Module,
        teacher: nn.Module,
        *,
        alpha: Alpha = 0.9,
        temperature: Temperature = 4.0,
        normalize: Normalize = "l2",
    ) -> None:
        super().__init__(student, teacher)
        self.alpha, self.temperature = alpha, temperature
        self.normalize: Normalize = normalize

    def losses(self, student: Output, teacher: Output, batch: Batch) -> dict[str, Tensor]:
        """Return the terms "ce" and "kl"."""
        student_logits, teacher_logits = on_sphere(student.logits, teacher.logits, self.normalize)
        return {
            "ce": (1 - self.alpha) * cross_entropy(student_logits, batch.labels),
            "kl": self.alpha * kd_loss(student_logits, teacher_logits, self.temperature),
        }

    @classmethod
    def not_summable(cls, **hyperparameters: Any) -> str | None:
        """Return that the cross-entropy is not the plain one."""
        return "its cross-entropy is on normalized logits, and a sum has the plain one"


@in_float32
def on_sphere(student_logits: Tensor, teacher_logits: Tensor, normalize: Normalize) -> tuple[Tensor, Tensor]:
    """Return both logits (B, K) at the mean length of the teacher's, which carries no gradient.

    "standardize" centers each row first. That equals (z - mean) / std times the teacher's mean std: with unbiased
    standard deviations a length is sqrt(K - 1) std, and the roots cancel.
    """
    if normalize == "standardize":
        student_logits, teacher_logits = _center(student_logits), _center(teacher_logits)
    length = teacher_logits.detach().norm(dim=1).mean()
    return length * _directions(student_logits), length * _directions(teacher_logits)


def _center(logits: Tensor) -> Tensor:
    return logits - logits.mean(dim=1, keepdim=True)


def _directions(logits: Tensor) -> Tensor:
    return F.normalize(logits, dim=1, eps=MIN_LENGTH)
