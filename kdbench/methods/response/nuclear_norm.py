"""Vanilla distillation with the nuclear norm of the student's first layer as a penalty."""

from typing import Annotated, Any, final

import torch
from annotated_types import Ge, Gt, Le
from torch import Tensor, nn

from kdbench.errors import MethodError
from kdbench.hyperparameters import Tune
from kdbench.methods.losses import cross_entropy, in_float32, kd_loss
from kdbench.methods.offline import Offline, Reads
from kdbench.methods.requirements import same_classes
from kdbench.training.method import Batch, Output, Shapes, Task


@final
class NuclearNorm(Offline):
    """L = (1 - alpha) CE(z_s, y) + alpha T^2 KL(softmax(z_t / T) || softmax(z_s / T)) + beta ||W||_*; logits (B, K).

    W are the weights of the student's first layer, `first_weights`; `beta` None is alpha, and follows it in a search.

    Raises:
        MethodError: the student has no convolution and no linear layer.
    """

    paper = "Distillation with a nuclear norm (remote sensing study)"
    reads: Reads = "logits"

    def __init__(
        self,
        student: nn.Module,
        teacher: nn.Module,
        *,
        alpha: Annotated[float, Ge(0), Le(1), Tune(0.05, 0.95)] = 0.3,
        temperature: Annotated[float, Gt(0), Tune(1, 20, log=True)] = 5.0,
        beta: Annotated[float, Ge(0)] | None = None,
    ) -> None:
        super().__init__(student, teacher)
        first_weights(student)
        self.alpha = alpha
        self.temperature = temperature
        self.beta = alpha if beta is None else beta

    def losses(self, student: Output, teacher: Output, batch: Batch) -> dict[str, Tensor]:
        """Terms "ce", "kl" and "nuclear"."""
        return {
            "ce": (1 - self.alpha) * cross_entropy(student.logits, batch.labels),
            "kl": self.alpha * kd_loss(student.logits, teacher.logits, self.temperature),
            "nuclear": self.beta * nuclear_norm(first_weights(self.student)),
        }

    @classmethod
    def incompatible(cls, student: Shapes, teacher: Shapes | None, task: Task, **hyperparameters: Any) -> str | None:
        """Other classes than the teacher's."""
        return same_classes(student, teacher)


def first_weights(network: nn.Module) -> Tensor:
    """The weights of the first `Conv2d` or `Linear`, in the order in which modules are registered, as a matrix.

    (out, in) of a linear layer, (out, in * kh * kw) of a convolution.

    Raises:
        MethodError: there is no such layer.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            return module.weight.flatten(1)
    raise MethodError(
        f"nuclear_norm needs a student with an nn.Conv2d or nn.Linear, got {type(network).__name__} without one; "
        "name another student"
    )


@in_float32
def nuclear_norm(matrix: Tensor) -> Tensor:
    """The sum of the singular values of a matrix (M, N)."""
    values: Tensor = torch.linalg.svdvals(matrix)
    return values.sum()
