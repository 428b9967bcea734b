"""Relational Knowledge Distillation: distances and angles between the images of a batch.

Not to be confused with Relative Knowledge Distillation, which adjusts the teacher's logits.
"""

from abc import ABC, abstractmethod
from typing import Annotated, Any, final

import torch
import torch.nn.functional as F
from annotated_types import Ge
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from kdbench.hyperparameters import Tune
from kdbench.methods.losses import cross_entropy, in_float32
from kdbench.methods.offline import Offline, Reads
from kdbench.methods.requirements import enough_images
from kdbench.training.method import Batch, Output, Shapes, Task

LARGEST = 256  # images whose B^3 angles are held at once
NOTHING = 1e-6  # a squared distance that is this small beside the squared lengths is rounding in float32
Geometry = tuple[Tensor, Tensor]
Weight = Annotated[float, Ge(0), Tune(1, 200, log=True)]


@in_float32
def distance_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean Huber loss of the B^2 distances between embeddings (B, D_s) and (B, D_t), each over its mean (Eq. 5, 6).

    The mean is that of the pairs of different images; the student's carries gradient.
    """
    (of_student, _), (of_teacher, _) = _geometry(student), _geometry(teacher)
    return F.smooth_l1_loss(_relative(of_student), _relative(of_teacher))


@in_float32
def angle_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean Huber loss of the B^3 cosines of the angles at j between i and k, embeddings (B, D_s), (B, D_t) (Eq. 7, 8).

    Above 256 images the angles are made in chunks, and once more in the backward pass.
    """
    size = len(student)
    geometries, corners = (_geometry(student), _geometry(teacher)), torch.arange(size, device=student.device)
    if size <= LARGEST:
        return _angle_sum(corners, *geometries) / size**3
    chunks = torch.split(corners, max(1, LARGEST**3 // size**2))
    sums = [
        # nothing in it is random, and a CUDA graph that is captured cannot keep the state of what is
        checkpoint(_angle_sum, chunk, *geometries, use_reentrant=False, preserve_rng_state=False)
        for chunk in chunks
    ]
    return torch.stack(sums).sum() / size**3


def _geometry(embedding: Tensor) -> Geometry:
    """Distances (B, B) and their inverse, both 0 for an image and itself, from the Gram matrix of the embeddings.

    The inverse is also 0 for two images with one embedding: they have no direction, and 1 / 0 would be their gradient.
    """
    centered = embedding - embedding.mean(dim=0)  # keeps the differences below from cancelling
    gram = centered @ centered.T
    norms = gram.diagonal()
    lengths = norms[:, None] + norms
    squared = lengths - 2 * gram
    distances = squared.clamp(min=1e-12).sqrt()
    different = 1 - torch.eye(len(gram), device=gram.device)
    return distances * different, (squared > NOTHING * lengths) / distances


def _relative(distances: Tensor) -> Tensor:
    return distances * (len(distances) * (len(distances) - 1)) / distances.sum()


def _angle_sum(corners: Tensor, student: Geometry, teacher: Geometry) -> Tensor:
    return F.smooth_l1_loss(_cosines(corners, *student), _cosines(corners, *teacher), reduction="sum")


def _cosines(corners: Tensor, distances: Tensor, inverse: Tensor) -> Tensor:
    """Cosines (J, B, B) at the J corners by the law of cosines; 0 where a side has no length."""
    squared = distances.square()
    near, scale = squared[corners], inverse[corners]
    return (near[:, :, None] + near[:, None, :] - squared) / 2 * scale[:, :, None] * scale[:, None, :]


class RelationalKD(Offline, ABC):
    """L = CE + the weighted relations between embeddings (B, D), whose widths may differ; B is at least 3."""

    paper = "Park, Kim, Lu, Cho, CVPR 2019, arXiv:1904.05068"
    reads: Reads = "embedding"
    cuda_graph_safe = True

    @abstractmethod
    def relations(self, student: Tensor, teacher: Tensor) -> dict[str, Tensor]:
        """The weighted terms of embeddings (B, D_s) and (B, D_t)."""

    def losses(self, student: Output, teacher: Output, batch: Batch) -> dict[str, Tensor]:
        """Term "ce" and the relations."""
        ce = cross_entropy(student.logits, batch.labels)
        return {"ce": ce, **self.relations(student.embedding, teacher.embedding)}

    @classmethod
    def incompatible(cls, student: Shapes, teacher: Shapes | None, task: Task, **hyperparameters: Any) -> str | None:
        """A batch of fewer than three images."""
        return enough_images(task, 3)


@final
class RelationalDistance(RelationalKD):
    """RKD-D: term "distance"."""

    def __init__(self, student: nn.Module, teacher: nn.Module, *, weight: Weight = 25.0) -> None:
        super().__init__(student, teacher)
        self.weight = weight

    def relations(self, student: Tensor, teacher: Tensor) -> dict[str, Tensor]:
        """Equation 6."""
        return {"distance": self.weight * distance_loss(student, teacher)}


@final
class RelationalAngle(RelationalKD):
    """RKD-A: term "angle"."""

    def __init__(self, student: nn.Module, teacher: nn.Module, *, weight: Weight = 50.0) -> None:
        super().__init__(student, teacher)
        self.weight = weight

    def relations(self, student: Tensor, teacher: Tensor) -> dict[str, Tensor]:
        """Equation 8."""
        return {"angle": self.weight * angle_loss(student, teacher)}


@final
class RelationalDistanceAngle(RelationalKD):
    """RKD-DA: terms "distance" and "angle"."""

    def __init__(
        self,
        student: nn.Module,
        teacher: nn.Module,
        *,
        distance_weight: Weight = 25.0,
        angle_weight: Weight = 50.0,
    ) -> None:
        super().__init__(student, teacher)
        self.distance_weight = distance_weight
        self.angle_weight = angle_weight

    def relations(self, student: Tensor, teacher: Tensor) -> dict[str, Tensor]:
        """Equations 6 and 8."""
        return {
            "distance": self.distance_weight * distance_loss(student, teacher),
            "angle": self.angle_weight * angle_loss(student, teacher),
        }
