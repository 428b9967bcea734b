"""Logit matching: the student repeats the teacher's logits."""

from typing import Annotated, Any, final

from annotated_types import Ge
from torch import Tensor, nn

from kdbench.hyperparameters import Tune
from kdbench.methods.losses import cross_entropy
from kdbench.methods.offline import Offline, Reads
from kdbench.methods.requirements import same_classes
from kdbench.training.method import Batch, Output, Shapes, Task


@final
class LogitMSE(Offline):
    """L = CE(z_s, y) + weight 1/2 ||z_s - z_t||^2, the norm over the classes, mean over the batch; logits (B, K).

    The limit of vanilla distillation at high temperature, for logits of zero mean.
    """

    paper = "Ba, Caruana, NeurIPS 2014, arXiv:1312.6184"
    reads: Reads = "logits"
    cuda_graph_safe = True

    def __init__(
        self,
        student: nn.Module,
        teacher: nn.Module,
        *,
        weight: Annotated[float, Ge(0), Tune(0.01, 1, log=True)] = 0.1,
    ) -> None:
        super().__init__(student, teacher)
        self.weight = weight

    def losses(self, student: Output, teacher: Output, batch: Batch) -> dict[str, Tensor]:
        """Terms "ce" and "mse"."""
        squared = (student.logits - teacher.logits).square().sum(dim=1)
        return {
            "ce": cross_entropy(student.logits, batch.labels),
            "mse": self.weight * squared.mean() / 2,
        }

    @classmethod
    def incompatible(cls, student: Shapes, teacher: Shapes | None, task: Task, **hyperparameters: Any) -> str | None:
        """Other classes than the teacher's."""
        return same_classes(student, teacher)
