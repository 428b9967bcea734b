"""Two Temperature Distillation: softer targets where the teacher is wrong."""

from typing import Annotated, Any, final

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt, Le
from torch import Tensor, nn

from kdbench.hyperparameters import Tune
from kdbench.methods.losses import cross_entropy, in_float32
from kdbench.methods.offline import Offline, Reads
from kdbench.methods.requirements import same_classes
from kdbench.training.method import Batch, Output, Shapes, Task


@final
class TwoTemperature(Offline):
    """L = (1 - alpha) CE(z_s, y) + alpha mean_i T_i^2 KL(softmax(z_t / T_i) || softmax(z_s / T_i)); logits (B, K).

    T_i is `temperature_right` where no logit of the teacher is higher than the label's, else `temperature_wrong`.
    """

    paper = "D'Amicantonio, thesis at the University of Bologna 2021"
    reads: Reads = "logits"
    cuda_graph_safe = True

    def __init__(
        self,
        student: nn.Module,
        teacher: nn.Module,
        *,
        alpha: Annotated[float, Ge(0), Le(1), Tune(0.05, 0.95)] = 0.3,
        temperature_right: Annotated[float, Gt(0), Tune(1, 20, log=True)] = 2.0,
        temperature_wrong: Annotated[float, Gt(0), Tune(2, 100, log=True)] = 20.0,
    ) -> None:
        super().__init__(student, teacher)
        self.alpha = alpha
        self.temperature_right = temperature_right
        self.temperature_wrong = temperature_wrong

    def losses(self, student: Output, teacher: Output, batch: Batch) -> dict[str, Tensor]:
        """Terms "ce" and "kl"."""
        own = teacher.logits.gather(1, batch.labels[:, None])
        right = own >= teacher.logits.amax(dim=1, keepdim=True)
        temperatures = torch.where(right, self.temperature_right, self.temperature_wrong).squeeze(1)
        return {
            "ce": (1 - self.alpha) * cross_entropy(student.logits, batch.labels),
            "kl": self.alpha * per_sample_kd_loss(student.logits, teacher.logits, temperatures),
        }

    @classmethod
    def incompatible(cls, student: Shapes, teacher: Shapes | None, task: Task, **hyperparameters: Any) -> str | None:
        """Other classes than the teacher's."""
        return same_classes(student, teacher)


@in_float32
def per_sample_kd_loss(student_logits: Tensor, teacher_logits: Tensor, temperatures: Tensor) -> Tensor:
    """T_i^2 KL(softmax(z_t / T_i) || softmax(z_s / T_i)), mean over the batch; logits (B, K), temperatures (B,)."""
    scale = temperatures[:, None]
    ours, theirs = F.log_softmax(student_logits / scale, dim=1), F.log_softmax(teacher_logits / scale, dim=1)
    divergences = F.kl_div(ours, theirs, reduction="none", log_target=True).sum(dim=1)
    return (temperatures.square() * divergences).mean()
