"""FitNets: a middle stage of the teacher as a hint for a stage of the student."""

from typing import Annotated, Any, Literal, final

import torch.nn.functional as F
from annotated_types import Ge, Gt, Lt
from torch import Tensor, nn

from kdbench.errors import MethodError
from kdbench.hyperparameters import Tune
from kdbench.methods.losses import cross_entropy
from kdbench.methods.modules import regressor
from kdbench.methods.offline import Offline
from kdbench.methods.requirements import same_classes, spatial
from kdbench.training.method import Batch, Output, Shapes, Task
from kdbench.training.network import shapes

Layer = Literal["middle", "final"] | Annotated[int, Ge(0)]


@final
class FitNets(Offline):
    """A regressor r maps the student's stage v (B, C, H, W) to the teacher's u; both are read after the ReLU.

    "joint" (the usual form of later comparisons): L = CE + weight mean (u - r(v))^2, over all entries.
    "two_stage" (the paper, Eq. 3, 4 and Alg. 1): for the first `share` of the run 1/2 ||u - r(v)||^2 alone, summed over
    entries, mean over the batch, times `hint_weight`; then CE + lambda H(softmax(z_t / tau), softmax(z_s / tau)) with
    lambda falling linearly from 4 to 1 and tau 3. A sum over thousands of entries wants a small learning rate, or a
    `hint_weight` of about 1 / (C H W). The classifier does not train in the first stage, so early stopping and the
    plateau schedule, which read the validation loss, need more patience than that stage has epochs.

    `layer` is a place among all stages of both networks, from 0, or "middle" or "final" of those with height and width.
    """

    paper = "Romero et al., ICLR 2015, arXiv:1412.6550"

    def __init__(
        self,
        student: nn.Module,
        teacher: nn.Module,
        *,
        mode: Literal["joint", "two_stage"] = "joint",
        layer: Layer = "middle",
        weight: Annotated[float, Ge(0), Tune(1, 1000, log=True)] = 100.0,
        hint_weight: Annotated[float, Gt(0), Tune(1e-5, 1, log=True)] = 1.0,
        share: Annotated[float, Gt(0), Lt(1), Tune(0.05, 0.5)] = 0.25,
        temperature: Annotated[float, Gt(0), Tune(1, 20, log=True)] = 3.0,
    ) -> None:
        super().__init__(student, teacher)
        student_shapes, teacher_shapes = shapes(student), shapes(teacher)
        reason = _mismatch(student_shapes, teacher_shapes, layer)
        if reason is not None:
            raise MethodError(f"fitnets {reason}")
        self.mode, self.weight, self.hint_weight = mode, weight, hint_weight
        self.cuda_graph_safe = mode == "joint"  # two stages go by `progress`
        self.share, self.temperature = share, temperature
        self.source, self.target = _place(student_shapes, layer), _place(teacher_shapes, layer)
        self.regressor = regressor(student_shapes.stages[self.source], teacher_shapes.stages[self.target])

    def losses(self, student: Output, teacher: Output, batch: Batch) -> dict[str, Tensor]:
        """Terms "ce" and "hint"; in two stages "hint", then "ce" and "kd"."""
        if self.mode == "two_stage" and batch.progress >= self.share:
            return self._second_stage(student, teacher, batch)
        regressed, hint = self.regressor(student.stages[self.source]), teacher.stages[self.target]
        if self.mode == "two_stage":
            squared = (hint - regressed).square().flatten(1).sum(dim=1)
            return {"hint": self.hint_weight * squared.mean() / 2}
        return {
            "ce": cross_entropy(student.logits, batch.labels),
            "hint": self.weight * F.mse_loss(regressed, hint),
        }

    def _second_stage(self, student: Output, teacher: Output, batch: Batch) -> dict[str, Tensor]:
        done = (batch.progress - self.share) / (1 - self.share)
        soft = F.softmax(teacher.logits / self.temperature, dim=1)
        return {
            "ce": cross_entropy(student.logits, batch.labels),
            "kd": (4 - 3 * done) * F.cross_entropy(student.logits / self.temperature, soft),
        }

    @classmethod
    def incompatible(cls, student: Shapes, teacher: Shapes | None, task: Task, **hyperparameters: Any) -> str | None:
        """A stage that is not there, or without height and width; in two stages other classes than the teacher's."""
        if teacher is None:
            return None
        if hyperparameters.get("mode") == "two_stage" and (reason := same_classes(student, teacher)):
            return reason
        return _mismatch(student, teacher, hyperparameters.get("layer", "middle"))

    @classmethod
    def not_summable(cls, **hyperparameters: Any) -> str | None:
        """The two stages cannot stand beside another loss."""
        if hyperparameters.get("mode") == "two_stage":
            return "mode = 'two_stage' trains without cross-entropy at first; mode = 'joint' can be summed"
        return None


def _mismatch(student: Shapes, teacher: Shapes, layer: str | int) -> str | None:
    for who, found in (("student", student), ("teacher", teacher)):
        if not spatial(found):
            return f"needs a stage with height and width, but the {who} has none (an MLP's stages have H = W = 1)"
        if isinstance(layer, int) and layer not in spatial(found):
            return f"reads stage {layer}, but the {who}'s stages with height and width are {spatial(found)}"
    source, target = student.stages[_place(student, layer)], teacher.stages[_place(teacher, layer)]
    if (source[1] - target[1]) * (source[2] - target[2]) < 0:
        return f"cannot map the student's stage (C, H, W) {source} to the teacher's {target}: one is higher, one wider"
    return None


def _place(found: Shapes, layer: str | int) -> int:
    if isinstance(layer, int):
        return layer
    places = spatial(found)
    return places[-1] if layer == "final" else places[(len(places) - 1) // 2]
