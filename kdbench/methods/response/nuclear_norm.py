"""Vanilla distillation with the nuclear norm of the student's first layer as a penalty."""

from typing import Annotated, final

import torch
from annotated_types import Ge
from torch import Tensor, nn
from torch.nn import Module

from kdbench.errors import MethodError
from kdbench.methods.annotations import Alpha, Temperature
from kdbench.methods.losses import cross_entropy, in_float32, kd_loss
from kdbench.methods.offline import Offline
from kdbench.training.method import Batch, Output

Beta = Annotated[float, Ge(0)] | None


@final
class NuclearNorm(Offline):
    """`L = (1 - alpha) CE(z_s, y) + alpha T^2 KL(softmax(z_t / T) || softmax(z_s / T)) + beta ||W||_*`.

    Logits z are (B, K). W is the weight of the student's first layer as a matrix, and `||W||_*` the sum of its singular
    values. `beta` None (the default) stands for alpha, even if alpha is searched.

    Raises:
        MethodError: the student has no convolution and no linear layer.
    """

    reads = "logits"
    paper = "Distillation with a nuclear norm (remote sensing study)"

    def __init__(
        self, student: Module, teacher: Module, *, alpha: Alpha = 0.3, temperature: Temperature = 5.0, beta: Beta = None
    ) -> None:
        super().__init__(student, teacher)
        first_weights(student)
        self.alpha, self.temperature = alpha, temperature
        self.beta = alpha if beta is None else beta

    def losses(self, student: Output, teacher: Output, batch: Batch) -> dict[str, Tensor]:
        """Return the terms "ce", "kl" and "nuclear"."""
        return {
            "ce": (1 - self.alpha) * cross_entropy(student.logits, batch.labels),
            "kl": self.alpha * kd_loss(student.logits, teacher.logits, self.temperature),
            "nuclear": self.beta * nuclear_norm(first_weights(self.student)),
        }


def first_weights(network: Module) -> Tensor:
    """Return the weight of the first `Conv2d` or `Linear`, in the order of registration, as a matrix.

    It is (out, in) for a linear layer and (out, in * kh * kw) for a convolution.

    Raises:
        MethodError: there is no such layer.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            return module.weight.flatten(1)
    raise MethodError(
        f"nuclear_norm needs a student with an nn.Conv2d or nn.Linear, got {type(network).__name__} without one; "
        "choose another student"
    )


@in_float32
def nuclear_norm(matrix: Tensor) -> Tensor:
    """Return the sum of the singular values of a matrix (M, N)."""
    values: Tensor = torch.linalg.svdvals(matrix)
    return values.sum()
