"""Earth Mover Distillation: where the teacher is wrong, the label gets the probability of unlikely classes."""

from typing import Literal, final

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import Module

from kdbench.methods.annotations import Alpha, Temperature
from kdbench.methods.losses import cross_entropy, in_float32
from kdbench.methods.offline import Offline
from kdbench.training.method import Batch, Output

Mass = Literal["added", "moved"]


@final
class EarthMover(Offline):
    """`L = (1 - alpha) CE(z_s, y) + alpha T^2 sum_k q_k (log q_k - log softmax(z_s / T)_k)`, with logits z (B, K).

    q is softmax(z_t / T) where the teacher is right. Where it is wrong, the probabilities of the other classes are
    added to the label's in ascending order, until the label's is the highest. The sum is averaged over the batch, and
    0 log 0 is 0.

    - `mass = "added"` (default, the published form): the other classes keep their probability, and q sums to more
      than one. Training with it is known to collapse sometimes.
    - `mass = "moved"`: the probability of the classes that were used becomes 0.
    """

    reads = "logits"
    cuda_graph_safe = True
    paper = "D'Amicantonio, thesis at the University of Bologna 2021"

    def __init__(
        self,
        student: Module,
        teacher: Module,
        *,
        alpha: Alpha = 0.3,
        temperature: Temperature = 5.0,
        mass: Mass = "added",
    ) -> None:
        super().__init__(student, teacher)
        self.alpha, self.temperature = alpha, temperature
        self.mass: Mass = mass

    def losses(self, student: Output, teacher: Output, batch: Batch) -> dict[str, Tensor]:
        """Return the terms "ce" and "emd"."""
        targets = correct_targets(F.softmax(teacher.logits / self.temperature, dim=1), batch.labels, self.mass)
        log_probabilities = F.log_softmax(student.logits / self.temperature, dim=1)
        distance = F.kl_div(log_probabilities, targets, reduction="batchmean")
        return {
            "ce": (1 - self.alpha) * cross_entropy(student.logits, batch.labels),
            "emd": self.alpha * self.temperature**2 * distance,
        }


@in_float32
def correct_targets(probabilities: Tensor, labels: Tensor, mass: Mass) -> Tensor:
    """Return probabilities (B, K) in which no class is above the label of labels (B,).

    The probabilities of the other classes are added to the label's in ascending order (of equal ones the lower index
    first), until no other is higher. With `mass` "added" the donors keep theirs; with "moved" theirs become 0.
    """
    chosen = labels[:, None]
    is_chosen = torch.arange(probabilities.shape[1], device=labels.device) == chosen
    own, highest = probabilities.gather(1, chosen), probabilities.amax(dim=1, keepdim=True)
    # the label sorts last, so that the columns before it are the others
    ordered, order = probabilities.masked_fill(is_chosen, torch.inf).sort(dim=1, stable=True)
    sums = torch.cat([own, own + ordered[:, :-1].cumsum(dim=1)], dim=1)
    donors = (sums[:, :-1] < highest).sum(dim=1, keepdim=True)
    rest = probabilities.masked_fill(order.argsort(dim=1) < donors, 0) if mass == "moved" else probabilities
    return torch.where(is_chosen, sums.gather(1, donors), rest)
