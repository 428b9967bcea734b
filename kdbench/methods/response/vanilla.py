"""Vanilla knowledge distillation: the teacher's softened outputs as targets."""

from typing import final

from torch import Tensor
from torch.nn import Module

from kdbench.methods.annotations import Alpha, Temperature
from kdbench.methods.losses import cross_entropy, kd_loss
from kdbench.methods.offline import Offline
from kdbench.training.method import Batch, Output


@final
class Vanilla(Offline):
    """`L = (1 - alpha) CE(z_s, y) + alpha T^2 KL(softmax(z_t / T) || softmax(z_s / T))`, with logits z (B, K)."""

    reads = "logits"
    cuda_graph_safe = True
    paper = "Hinton, Vinyals, Dean, 2015, arXiv:1503.02531"

    def __init__(self, student: Module, teacher: Module, *, alpha: Alpha = 0.9, temperature: Temperature = 4.0) -> None:
        super().__init__(student, teacher)
        self.alpha, self.temperature = alpha, temperature

    def losses(self, student: Output, teacher: Output, batch: Batch) -> dict[str, Tensor]:
        """Return the terms "ce" and "kl"."""
        ce, kl = cross_entropy(student.logits, batch.labels), kd_loss(student.logits, teacher.logits, self.temperature)
        return {"ce": (1 - self.alpha) * ce, "kl": self.alpha * kl}
