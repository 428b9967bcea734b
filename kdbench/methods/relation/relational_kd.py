"""Relational Knowledge Distillation: distances and angles between the images of a batch.

Not to be confused with Relative Knowledge Distillation, which adjusts the teacher's logits.
"""

from abc import ABC, abstractmethod
from typing import Annotated, final

from torch import Tensor, nn

from kdbench.hyperparameters import Tune
from kdbench.methods.annotations import Weight
from kdbench.methods.losses import cross_entropy
from kdbench.methods.offline import Offline
from kdbench.methods.relation.geometry import angle_loss, distance_loss
from kdbench.training.method import Batch, Output

RelationWeight = Annotated[Weight, Tune(1, 200, log=True)]


class RelationalKD(Offline, ABC):
    """`L = CE(z_s, y)` + weighted relations between embeddings (B, D), whose widths may differ; B is at least 3."""

    reads = "embedding"
    min_batch_size = 3
    cuda_graph_safe = True
    paper = "Park, Kim, Lu, Cho, CVPR 2019, arXiv:1904.05068"

    @abstractmethod
    def relations(self, student: Tensor, teacher: Tensor) -> dict[str, Tensor]:
        """Return the weighted terms of embeddings (B, D_s) and (B, D_t)."""

    def losses(self, student: Output, teacher: Output, batch: Batch) -> dict[str, Tensor]:
        """Return the term "ce" and the relations."""
        ce = cross_entropy(student.logits, batch.labels)
        return {"ce": ce, **self.relations(student.embedding, teacher.embedding)}


@final
class RelationalDistance(RelationalKD):
    """`L = CE(z_s, y) + weight mean_ij Huber(d(f_s_i, f_s_j) / m_s, d(f_t_i, f_t_j) / m_t)`, with embeddings f (B, D).

    d is the Euclidean distance and m its mean over the pairs of different images (RKD-D, Eq. 5, 6). The term is called
    "distance". Embeddings of different widths can be compared; B must be at least 3.
    """

    def __init__(self, student: nn.Module, teacher: nn.Module, *, weight: RelationWeight = 25.0) -> None:
        super().__init__(student, teacher)
        self.weight = weight

    def relations(self, student: Tensor, teacher: Tensor) -> dict[str, Tensor]:
        """Return the term "distance" (Eq. 6)."""
        return {"distance": self.weight * distance_loss(student, teacher)}


@final
class RelationalAngle(RelationalKD):
    """`L = CE(z_s, y) + weight mean_ijk Huber(cos(f_s_i, f_s_j, f_s_k), cos(f_t_i, f_t_j, f_t_k))`, embeddings f.

    cos is the cosine of the angle at the second of three embeddings (B, D) (RKD-A, Eq. 7, 8). The term is called
    "angle". Embeddings of different widths can be compared; B must be at least 3.
    """

    def __init__(self, student: nn.Module, teacher: nn.Module, *, weight: RelationWeight = 50.0) -> None:
        super().__init__(student, teacher)
        self.weight = weight

    def relations(self, student: Tensor, teacher: Tensor) -> dict[str, Tensor]:
        """Return the term "angle" (Eq. 8)."""
        return {"angle": self.weight * angle_loss(student, teacher)}


@final
class RelationalDistanceAngle(RelationalKD):
    """`L = CE(z_s, y) + distance_weight L_D + angle_weight L_A`, with embeddings f (B, D).

    L_D is the distance term of `rkd_d` (Eq. 6) and L_A the angle term of `rkd_a` (Eq. 8). Embeddings of different
    widths can be compared; B must be at least 3.
    """

    def __init__(
        self,
        student: nn.Module,
        teacher: nn.Module,
        *,
        distance_weight: RelationWeight = 25.0,
        angle_weight: RelationWeight = 50.0,
    ) -> None:
        super().__init__(student, teacher)
        self.distance_weight, self.angle_weight = distance_weight, angle_weight

    def relations(self, student: Tensor, teacher: Tensor) -> dict[str, Tensor]:
        """Return the terms "distance" and "angle" (Eq. 6, 8)."""
        return {
            "distance": self.distance_weight * distance_loss(student, teacher),
            "angle": self.angle_weight * angle_loss(student, teacher),
        }
