"""Earth Mover Distillation: where the teacher is wrong, the label is given the probability of unlikely classes."""

from typing import Annotated, Any, Literal, final

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt, Le
from torch import Tensor, nn

from kdbench.hyperparameters import Tune
from kdbench.methods.losses import cross_entropy, in_float32
from kdbench.methods.offline import Offline, Reads
from kdbench.methods.requirements import same_classes
from kdbench.training.method import Batch, Output, Shapes, Task

Mass = Literal["added", "moved"]


@final
class EarthMover(Offline):
    """L = (1 - alpha) CE(z_s, y) + alpha T^2 sum_k q_k (log q_k - log softmax(z_s / T)_k); logits (B, K).

    q is the softmax of z_t / T, corrected by `correct_targets`; the sum is averaged over the batch, 0 log 0 is 0. Known to
    collapse sometimes with `mass` "added", the published form, in which q sums to more than one.
    """

    paper = "D'Amicantonio, thesis at the University of Bologna 2021"
    reads: Reads = "logits"
    cuda_graph_safe = True

    def __init__(
        self,
        student: nn.Module,
        teacher: nn.Module,
        *,
        alpha: Annotated[float, Ge(0), Le(1), Tune(0.05, 0.95)] = 0.3,
        temperature: Annotated[float, Gt(0), Tune(1, 20, log=True)] = 5.0,
        mass: Mass = "added",
    ) -> None:
        super().__init__(student, teacher)
        self.alpha = alpha
        self.temperature = temperature
        self.mass: Mass = mass

    def losses(self, student: Output, teacher: Output, batch: Batch) -> dict[str, Tensor]:
        """Terms "ce" and "emd"."""
        targets = correct_targets(F.softmax(teacher.logits / self.temperature, dim=1), batch.labels, self.mass)
        ours = F.log_softmax(student.logits / self.temperature, dim=1)
        apart = F.kl_div(ours, targets, reduction="batchmean")
        return {
            "ce": (1 - self.alpha) * cross_entropy(student.logits, batch.labels),
            "emd": self.alpha * self.temperature**2 * apart,
        }

    @classmethod
    def incompatible(cls, student: Shapes, teacher: Shapes | None, task: Task, **hyperparameters: Any) -> str | None:
        """Other classes than the teacher's."""
        return same_classes(student, teacher)


@in_float32
def correct_targets(probabilities: Tensor, labels: Tensor, mass: Mass) -> Tensor:
    """Probabilities (B, K) in which the label of labels (B,) is the highest, or equal to it.

    The other classes' probabilities are added to the label's in ascending order (of equal ones the lower index first),
    until it is as high as every other; where it is so already, nothing is added. The donors keep theirs if `mass` is
    "added" and go to zero if it is "moved".
    """
    chosen = labels[:, None]
    is_chosen = torch.arange(probabilities.shape[1], device=labels.device) == chosen
    own, highest = probabilities.gather(1, chosen), probabilities.amax(dim=1, keepdim=True)
    # the label sorts last, so that the columns before it are the others
    ordered, places = probabilities.masked_fill(is_chosen, torch.inf).sort(dim=1, stable=True)
    sums = torch.cat([own, own + ordered[:, :-1].cumsum(dim=1)], dim=1)
    donors = (sums[:, :-1] < highest).sum(dim=1, keepdim=True)
    rest = probabilities.masked_fill(places.argsort(dim=1) < donors, 0) if mass == "moved" else probabilities
    return torch.where(is_chosen, sums.gather(1, donors), rest)
