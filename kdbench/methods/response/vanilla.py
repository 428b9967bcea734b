"""Vanilla knowledge distillation: the teacher's softened outputs as targets."""

from typing import Annotated, Any, final

from annotated_types import Ge, Gt, Le
from torch import Tensor, nn

from kdbench.hyperparameters import Tune
from kdbench.methods.losses import cross_entropy, kd_loss
from kdbench.methods.offline import Offline, Reads
from kdbench.methods.requirements import same_classes
from kdbench.training.method import Batch, Output, Shapes, Task


@final
class Vanilla(Offline):
    """L = (1 - alpha) CE(z_s, y) + alpha T^2 KL(softmax(z_t / T) || softmax(z_s / T)); logits (B, K)."""

    paper = "Hinton, Vinyals, Dean, 2015, arXiv:1503.02531"
    reads: Reads = "logits"
    cuda_graph_safe = True

    def __init__(
        self,
        student: nn.Module,
        teacher: nn.Module,
        *,
        alpha: Annotated[float, Ge(0), Le(1), Tune(0.05, 0.95)] = 0.9,
        temperature: Annotated[float, Gt(0), Tune(1, 20, log=True)] = 4.0,
    ) -> None:
        super().__init__(student, teacher)
        self.alpha = alpha
        self.temperature = temperature

    def losses(self, student: Output, teacher: Output, batch: Batch) -> dict[str, Tensor]:
        """Terms "ce" and "kl"."""
        return {
            "ce": (1 - self.alpha) * cross_entropy(student.logits, batch.labels),
            "kl": self.alpha * kd_loss(student.logits, teacher.logits, self.temperature),
        }

    @classmethod
    def incompatible(cls, student: Shapes, teacher: Shapes | None, task: Task, **hyperparameters: Any) -> str | None:
        """Other classes than the teacher's."""
        return same_classes(student, teacher)
