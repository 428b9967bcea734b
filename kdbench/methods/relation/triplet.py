"""Triplet-loss distillation: near the teacher's output of the same image, far from it with one of another class."""

from typing import Annotated, Any, Literal, final

import torch
import torch.nn.functional as F
from annotated_types import Ge
from torch import Tensor, nn

from kdbench.hyperparameters import Tune
from kdbench.methods.losses import cross_entropy, in_float32
from kdbench.methods.offline import Offline, Reads
from kdbench.methods.requirements import enough_images, same_classes
from kdbench.training.method import Batch, Output, Shapes, Task


@final
class Triplet(Offline):
    """L = CE(z_s, y) + weight mean_i max(0, margin + D(t_i, s_i) - D(t_i, s_n(i))); logits (B, K).

    t and s are the softmax outputs or the logits (`on`), D is the Euclidean distance or its square. n(i) is an image of
    the batch of another class: drawn anew each time, each with the same chance, or with `negatives` "hard" the one
    whose s is nearest to t_i. The paper's own form is un-squared, on logits, with margin 5 and weight 2.
    """

    paper = "Oki, Abe, Miyao, Kurita, IJCNN 2020, arXiv:2004.08116"
    reads: Reads = "logits"
    cuda_graph_safe = True

    def __init__(
        self,
        student: nn.Module,
        teacher: nn.Module,
        *,
        weight: Annotated[float, Ge(0), Tune(0.1, 10, log=True)] = 1.0,
        margin: Annotated[float, Ge(0), Tune(0.1, 10, log=True)] = 1.0,
        squared: bool = True,
        on: Literal["probabilities", "logits"] = "probabilities",
        negatives: Literal["random", "hard"] = "random",
    ) -> None:
        super().__init__(student, teacher)
        self.weight = weight
        self.margin = margin
        self.squared = squared
        self.on = on
        self.negatives = negatives

    def losses(self, student: Output, teacher: Output, batch: Batch) -> dict[str, Tensor]:
        """Terms "ce" and "triplet"."""
        ours, theirs = student.logits, teacher.logits
        if self.on == "probabilities":
            ours, theirs = F.softmax(ours, dim=1), F.softmax(theirs, dim=1)
        other = batch.labels[:, None] != batch.labels
        chosen = hardest_negatives(ours, theirs, other) if self.negatives == "hard" else random_negatives(other)
        hinge = triplet_hinge(theirs, ours, ours[chosen], self.margin, self.squared)
        return {
            "ce": cross_entropy(student.logits, batch.labels),
            # in a batch of one class nobody has a negative
            "triplet": self.weight * hinge.masked_fill(~other.any(dim=1), 0).mean(),
        }

    @classmethod
    def incompatible(cls, student: Shapes, teacher: Shapes | None, task: Task, **hyperparameters: Any) -> str | None:
        """Other classes than the teacher's, or a batch of one image."""
        return same_classes(student, teacher) or enough_images(task, 2)


@in_float32
def triplet_hinge(anchors: Tensor, positives: Tensor, negatives: Tensor, margin: float, squared: bool) -> Tensor:
    """max(0, margin + D(a_i, p_i) - D(a_i, n_i)), (B,), of outputs (B, K)."""
    near, far = torch.linalg.vector_norm(torch.stack([anchors - positives, anchors - negatives]), dim=2)
    return F.relu(margin + near.square() - far.square() if squared else margin + near - far)


def random_negatives(other: Tensor) -> Tensor:
    """A place (B,) for each row of other (B, B), with the same chance among those that are true."""
    return torch.rand(other.shape, device=other.device).masked_fill(~other, -1).argmax(dim=1)


@in_float32
def hardest_negatives(student: Tensor, teacher: Tensor, other: Tensor) -> Tensor:
    """For each i the j with other[i, j] whose student output is nearest to teacher output i, the first of equals; (B,).

    Outputs are (B, K), other is (B, B). The distances are not taken from a matrix product, in which they cancel.
    """
    distances = torch.cdist(teacher, student.detach(), compute_mode="donot_use_mm_for_euclid_dist")
    return distances.masked_fill(~other, torch.inf).argmin(dim=1)
