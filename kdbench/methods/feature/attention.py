"""Attention transfer: the student looks where the teacher looks."""

from typing import Annotated, Any, Literal, final

import torch
from annotated_types import Ge
from torch import Tensor, nn

from kdbench.hyperparameters import Tune
from kdbench.methods.losses import cross_entropy
from kdbench.methods.maps import aligned, attention_map
from kdbench.methods.offline import Offline
from kdbench.methods.requirements import shared_space
from kdbench.training.method import Batch, Output, Shapes, Task


@final
class Attention(Offline):
    """Q = the sum over channels of the squares of a stage (B, C, H, W), as a vector of unit length per image.

    "official" (default; the authors' code and the published numbers): L = CE + weight sum_j mean (Q_s - Q_t)^2, the
    mean over images and pixels, so the term shrinks with the resolution.
    "paper" (Eq. 2): L = CE + weight / 2 sum_j ||Q_s - Q_t||, the norm over pixels, mean over images.

    The last stages of both are paired (`maps.aligned`): the larger map of a pair is average-pooled, and a pair of
    single pixels is left out.
    """

    paper = "Zagoruyko, Komodakis, ICLR 2017, arXiv:1612.03928"
    cuda_graph_safe = True

    def __init__(
        self,
        student: nn.Module,
        teacher: nn.Module,
        *,
        weight: Annotated[float, Ge(0), Tune(1, 10_000, log=True)] = 1000.0,
        variant: Literal["official", "paper"] = "official",
    ) -> None:
        super().__init__(student, teacher)
        self.weight = weight
        self.distance = _official if variant == "official" else _paper

    def losses(self, student: Output, teacher: Output, batch: Batch) -> dict[str, Tensor]:
        """Terms "ce" and "attention"."""
        pairs = aligned(student.stages, teacher.stages)
        distances = [self.distance(attention_map(s), attention_map(t)) for s, t in pairs]
        return {
            "ce": cross_entropy(student.logits, batch.labels),
            "attention": self.weight * torch.stack(distances).sum(),
        }

    @classmethod
    def incompatible(cls, student: Shapes, teacher: Shapes | None, task: Task, **hyperparameters: Any) -> str | None:
        """No pair of stages with height and width."""
        return shared_space(student, teacher)


def _official(student: Tensor, teacher: Tensor) -> Tensor:
    return (student - teacher).square().mean()


def _paper(student: Tensor, teacher: Tensor) -> Tensor:
    lengths: Tensor = torch.linalg.vector_norm(student - teacher, dim=1)
    return lengths.mean() / 2
