"""Logit matching: regression of the student's logits on the teacher's."""

from typing import Annotated, final

from torch import Tensor
from torch.nn import Module

from kdbench.hyperparameters import Tune
from kdbench.methods.annotations import Weight
from kdbench.methods.losses import cross_entropy
from kdbench.methods.offline import Offline
from kdbench.training.method import Batch, Output


@final
class LogitMSE(Offline):
    """`L = CE(z_s, y) + weight / 2 ||z_s - z_t||^2`, with logits z (B, K).

    The norm is over the classes, averaged over the batch. For logits of zero mean this is the limit of vanilla
    distillation at high temperature (Hinton et al. 2015, Section 2.1).
    """

    reads = "logits"
    cuda_graph_safe = True
    paper = "Ba, Caruana, NeurIPS 2014, arXiv:1312.6184"

    def __init__(
        self, student: Module, teacher: Module, *, weight: Annotated[Weight, Tune(0.01, 1, log=True)] = 0.1
    ) -> None:
        super().__init__(student, teacher)
        self.weight = weight

    def losses(self, student: Output, teacher: Output, batch: Batch) -> dict[str, Tensor]:
        """Return the terms "ce" and "mse"."""
        squared = (student.logits - teacher.logits).square().sum(dim=1)
        return {"ce": cross_entropy(student.logits, batch.labels), "mse": self.weight * squared.mean() / 2}
