"""Two Temperature Distillation: softer targets where the teacher is wrong."""

from typing import Annotated, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdbench.hyperparameters import Tune
from kdbench.methods.annotations import Alpha, Temperature
from kdbench.methods.losses import cross_entropy, in_float32
from kdbench.methods.offline import Offline
from kdbench.training.method import Batch, Output


@final
class TwoTemperature(Offline):
    """`L = (1 - alpha) CE(z_s, y) + alpha mean_i T_i^2 KL(softmax(z_t / T_i) || softmax(z_s / T_i))`, logits z (B, K).

    T_i is `temperature_right` where no logit of the teacher is higher than the label's, and `temperature_wrong`
    elsewhere.
    """

    reads = "logits"
    cuda_graph_safe = True
    paper = "D'Amicantonio, thesis at the University of Bologna 2021"

    def __init__(
        self,
        student: nn.Module,
        teacher: nn.Module,
        *,
        alpha: Alpha = 0.3,
        temperature_right: Temperature = 2.0,
        temperature_wrong: Annotated[Temperature, Tune(2, 100, log=True)] = 20.0,
    ) -> None:
        super().__init__(student, teacher)
        self.alpha = alpha
        self.temperature_right = temperature_right
        self.temperature_wrong = temperature_wrong

    def losses(self, student: Output, teacher: Output, batch: Batch) -> dict[str, Tensor]:
        """Return the terms "ce" and "kl"."""
        label_logits = teacher.logits.gather(1, batch.labels[:, None])
        is_right = label_logits >= teacher.logits.amax(dim=1, keepdim=True)
        temperatures = torch.where(is_right, self.temperature_right, self.temperature_wrong).squeeze(1)
        kl = per_sample_kd_loss(student.logits, teacher.logits, temperatures)
        return {"ce": (1 - self.alpha) * cross_entropy(student.logits, batch.labels), "kl": self.alpha * kl}


@in_float32
def per_sample_kd_loss(student_logits: Tensor, teacher_logits: Tensor, temperatures: Tensor) -> Tensor:
    """Return T_i^2 KL(softmax(z_t / T_i) || softmax(z_s / T_i)), averaged over the batch.

    Logits are (B, K), temperatures (B,).
    """
    scale = temperatures[:, None]
    student_log, teacher_log = (F.log_softmax(logits / scale, dim=1) for logits in (student_logits, teacher_logits))
    divergences = F.kl_div(student_log, teacher_log, reduction="none", log_target=True).sum(dim=1)
    return (temperatures.square() * divergences).mean()
