"""Triplet-loss distillation: closer to the teacher's output of the same image than to one of another class."""

from typing import Annotated, Literal, final

import torch
import torch.nn.functional as F
from annotated_types import Ge
from torch import Tensor, nn

from kdbench.hyperparameters import Tune
from kdbench.methods.annotations import Weight
from kdbench.methods.losses import cross_entropy, in_float32
from kdbench.methods.offline import Offline
from kdbench.training.method import Batch, Output


@final
class Triplet(Offline):
    """`L = CE(z_s, y) + weight mean_i max(0, margin + D(t_i, s_i) - D(t_i, s_n(i)))`, with outputs t, s (B, K).

    - t and s are softmax outputs, or with `on = "logits"` logits.
    - D is the squared Euclidean distance, or with `squared = false` the Euclidean distance.
    - n(i) is an image of the batch of another class: a random one, or with `negatives = "hard"` the one whose s is
      nearest to t_i. A batch of one class has none, and the term is 0.

    The paper has `on = "logits"`, `squared = false`, `margin = 5`, `weight = 2`, and it adds
    `KL(softmax(z_t) || softmax(z_s))`.
    """

    reads = "logits"
    min_batch_size = 2
    cuda_graph_safe = True
    paper = "Oki, Abe, Miyao, Kurita, IJCNN 2020, arXiv:2004.08116"

    def __init__(
        self,
        student: nn.Module,
        teacher: nn.Module,
        *,
        weight: Weight = 1.0,
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
        """Return the terms "ce" and "triplet"."""
        positives, anchors = student.logits, teacher.logits
        if self.on == "probabilities":
            positives, anchors = F.softmax(positives, dim=1), F.softmax(anchors, dim=1)
        differs = batch.labels[:, None] != batch.labels
        is_hard = self.negatives == "hard"
        chosen = hardest_negatives(positives, anchors, differs) if is_hard else random_negatives(differs)
        hinge = triplet_loss(anchors, positives, positives[chosen], self.margin, self.squared)
        triplet = self.weight * hinge.masked_fill(~differs.any(dim=1), 0).mean()
        return {"ce": cross_entropy(student.logits, batch.labels), "triplet": triplet}


@in_float32
def triplet_loss(anchors: Tensor, positives: Tensor, negatives: Tensor, margin: float, squared: bool) -> Tensor:
    """Return max(0, margin + D(a_i, p_i) - D(a_i, n_i)), (B,), of outputs (B, K)."""
    near, far = torch.linalg.vector_norm(torch.stack([anchors - positives, anchors - negatives]), dim=2)
    return F.relu(margin + near.square() - far.square() if squared else margin + near - far)


def random_negatives(differs: Tensor) -> Tensor:
    """Return for each row of differs (B, B) the index of a true entry, each with the same chance; (B,)."""
    return torch.rand(differs.shape, device=differs.device).masked_fill(~differs, -1).argmax(dim=1)


@in_float32
def hardest_negatives(student: Tensor, teacher: Tensor, differs: Tensor) -> Tensor:
    """Return for each i the j with differs[i, j] whose student output is nearest to teacher output i; (B,).

    Of equal ones the lowest j. Outputs are (B, K), differs is (B, B). The distances are not computed by a matrix
    product, in which small ones cancel.
    """
    distances = torch.cdist(teacher, student.detach(), compute_mode="donot_use_mm_for_euclid_dist")
    return distances.masked_fill(~differs, torch.inf).argmin(dim=1)
