"""Spherical knowledge distillation: only the directions of the logits are compared, at the teacher's mean length."""

from typing import Annotated, Any, Literal, final

import torch.nn.functional as F
from annotated_types import Ge, Gt, Le
from torch import Tensor, nn

from kdbench.hyperparameters import Tune
from kdbench.methods.losses import cross_entropy, in_float32, kd_loss
from kdbench.methods.offline import Offline, Reads
from kdbench.methods.requirements import same_classes
from kdbench.training.method import Batch, Output, Shapes, Task

SHORTEST = 1e-6  # logits shorter than this have no direction, and a gradient of 1 / length
Normalize = Literal["l2", "standardize"]


@final
class Spherical(Offline):
    """L = (1 - alpha) CE(n_s, y) + alpha T^2 KL(softmax(n_t / T) || softmax(n_s / T)); logits (B, K).

    n_s and n_t are the normalized logits of `on_sphere`; the cross-entropy too is on n_s.
    """

    paper = "Guo et al., 2020, arXiv:2010.07485"
    reads: Reads = "logits"
    cuda_graph_safe = True

    def __init__(
        self,
        student: nn.Module,
        teacher: nn.Module,
        *,
        alpha: Annotated[float, Ge(0), Le(1), Tune(0.05, 0.95)] = 0.9,
        temperature: Annotated[float, Gt(0), Tune(1, 20, log=True)] = 4.0,
        normalize: Normalize = "l2",
    ) -> None:
        super().__init__(student, teacher)
        self.alpha = alpha
        self.temperature = temperature
        self.normalize: Normalize = normalize

    def losses(self, student: Output, teacher: Output, batch: Batch) -> dict[str, Tensor]:
        """Terms "ce" and "kl"."""
        ours, theirs = on_sphere(student.logits, teacher.logits, self.normalize)
        return {
            "ce": (1 - self.alpha) * cross_entropy(ours, batch.labels),
            "kl": self.alpha * kd_loss(ours, theirs, self.temperature),
        }

    @classmethod
    def incompatible(cls, student: Shapes, teacher: Shapes | None, task: Task, **hyperparameters: Any) -> str | None:
        """Other classes than the teacher's."""
        return same_classes(student, teacher)

    @classmethod
    def not_summable(cls, **hyperparameters: Any) -> str | None:
        """Its cross-entropy is on the normalized logits."""
        return "its cross-entropy is on normalized logits, and a sum has the plain one"


@in_float32
def on_sphere(student_logits: Tensor, teacher_logits: Tensor, normalize: Normalize) -> tuple[Tensor, Tensor]:
    """Both logits (B, K) at unit length, times the mean length of the teacher's, which carries no gradient.

    "standardize" centers each row first. That is (z - mean) / std times the teacher's mean std: with unbiased standard
    deviations a length is sqrt(K - 1) std, and the roots cancel.
    """
    if normalize == "standardize":
        student_logits, teacher_logits = _centered(student_logits), _centered(teacher_logits)
    length = teacher_logits.detach().norm(dim=1).mean()
    return length * _directions(student_logits), length * _directions(teacher_logits)


def _centered(logits: Tensor) -> Tensor:
    return logits - logits.mean(dim=1, keepdim=True)


def _directions(logits: Tensor) -> Tensor:
    return F.normalize(logits, dim=1, eps=SHORTEST)
