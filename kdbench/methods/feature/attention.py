"""Attention transfer: the student's maps become active where the teacher's are."""

from typing import Annotated, Literal, final

import torch
from torch import Tensor
from torch.nn import Module

from kdbench.hyperparameters import Tune
from kdbench.methods.annotations import Weight
from kdbench.methods.losses import cross_entropy
from kdbench.methods.maps import aligned, attention_map
from kdbench.methods.offline import Offline
from kdbench.training.method import Batch, Output

Variant = Literal["official", "paper"]


@final
class Attention(Offline):
    """`L = CE(z_s, y) + weight sum_j mean (Q_s - Q_t)^2`, with attention maps Q (B, H W) of the stages j.

    Q is the sum over channels of the squares of a stage (B, C, H, W), as a vector of unit length per image.

    - `variant = "official"` (default): the authors' code, with which the published numbers were made. The mean is
      over images and pixels, so the term shrinks with the resolution.
    - `variant = "paper"` (Eq. 2): `L = CE(z_s, y) + weight / 2 sum_j ||Q_s - Q_t||`, the norm over pixels, averaged
      over images.

    Of k and n stages the last min(k, n) are compared. The larger map of a pair is average-pooled to the smaller, and a
    pair of single pixels is left out.
    """

    reads = "maps"
    cuda_graph_safe = True
    paper = "Zagoruyko, Komodakis, ICLR 2017, arXiv:1612.03928"

    def __init__(
        self,
        student: Module,
        teacher: Module,
        *,
        weight: Annotated[Weight, Tune(1, 10_000, log=True)] = 1000.0,
        variant: Variant = "official",
    ) -> None:
        super().__init__(student, teacher)
        self.weight = weight
        self.distance = _mean_squared if variant == "official" else _half_norm

    def losses(self, student: Output, teacher: Output, batch: Batch) -> dict[str, Tensor]:
        """Return the terms "ce" and "attention"."""
        pairs = aligned(student.stages, teacher.stages)
        distances = [self.distance(attention_map(s), attention_map(t)) for s, t in pairs]
        attention = self.weight * torch.stack(distances).sum()
        return {"ce": cross_entropy(student.logits, batch.labels), "attention": attention}


def _mean_squared(student: Tensor, teacher: Tensor) -> Tensor:
    return (student - teacher).square().mean()


def _half_norm(student: Tensor, teacher: Tensor) -> Tensor:
    lengths: Tensor = torch.linalg.vector_norm(student - teacher, dim=1)
    return lengths.mean() / 2
