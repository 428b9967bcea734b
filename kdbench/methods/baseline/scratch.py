"""Training without a teacher: the baseline of every comparison, and how teachers are trained."""

from collections.abc import Iterator
from typing import Annotated, final

from annotated_types import Ge, Lt
from torch import nn

from kdbench.hyperparameters import Tune
from kdbench.methods.losses import cross_entropy
from kdbench.training.method import Batch, Method, Step


@final
class Scratch(Method):
    """`L = CE(z_s, y)`, with logits z (B, K).

    With `label_smoothing` e > 0 the targets are (1 - e) y + e / K, as in the paper (Section 7). No teacher is used.
    """

    cuda_graph_safe = True
    paper = "Szegedy et al., CVPR 2016, arXiv:1512.00567"

    def __init__(
        self, student: nn.Module, *, label_smoothing: Annotated[float, Ge(0), Lt(1), Tune(0.0, 0.3)] = 0.0
    ) -> None:
        super().__init__()
        self.student = student
        self.label_smoothing = label_smoothing

    def steps(self, batch: Batch) -> Iterator[Step]:
        """Yield one step with the term "ce"."""
        logits = self.student(batch.images).logits
        yield Step({"ce": cross_entropy(logits, batch.labels, self.label_smoothing)})
