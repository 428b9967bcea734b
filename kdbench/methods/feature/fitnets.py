"""FitNets: a stage of the teacher as a hint for a stage of the student."""

from typing import Annotated, Any, Literal, final

import torch.nn.functional as F
from annotated_types import Ge, Gt, Lt
from torch import Tensor, nn

from kdbench.errors import MethodError
from kdbench.hyperparameters import Tune, When
from kdbench.methods.annotations import Temperature, Weight
from kdbench.methods.losses import cross_entropy
from kdbench.methods.modules import regressor
from kdbench.methods.offline import Offline
from kdbench.methods.requirements import NEEDS_TEACHER, same_classes, spatial_stages
from kdbench.training.method import Batch, Output, Shapes, Task
from kdbench.training.network import shapes

Layer = Literal["middle", "final"] | Annotated[int, Ge(0)]
IN_TWO_STAGES = When(mode="two_stage")


@final
class FitNets(Offline):
    """`L = CE(z_s, y) + weight mean (u - r(v))^2`, with stages v, u (B, C, H, W) of student and teacher after the ReLU.

    r is a regressor that trains with the student: one convolution, batch norm and ReLU.

    - `mode = "joint"` (default): the formula above, the usual form in later comparisons; the mean is over all entries.
    - `mode = "two_stage"` (Eq. 3, 4 and Alg. 1): for the first `share` of the run
      `L = hint_weight / 2 ||u - r(v)||^2`, summed over entries and averaged over the batch; then
      `L = CE(z_s, y) + lambda H(softmax(z_t / T), softmax(z_s / T))`, where lambda falls linearly from 4 to 1.

    A sum over thousands of entries needs a small learning rate, or a `hint_weight` of about 1 / (C H W). The
    classifier does not train in the first stage, so that early stopping and the plateau schedule, which read
    validation scores, need more patience than that stage has epochs.

    `layer` is the index of a stage in both networks, from 0, or "middle" or "final" of the stages with height and
    width.
    """

    reads = "maps"
    paper = "Romero et al., ICLR 2015, arXiv:1412.6550"

    def __init__(
        self,
        student: nn.Module,
        teacher: nn.Module,
        *,
        mode: Literal["joint", "two_stage"] = "joint",
        layer: Layer = "middle",
        weight: Annotated[Weight, Tune(1, 1000, log=True), When(mode="joint")] = 100.0,
        hint_weight: Annotated[float, Gt(0), Tune(1e-5, 1, log=True), IN_TWO_STAGES] = 1.0,
        share: Annotated[float, Gt(0), Lt(1), Tune(0.05, 0.5), IN_TWO_STAGES] = 0.25,
        temperature: Annotated[Temperature, IN_TWO_STAGES] = 3.0,
    ) -> None:
        super().__init__(student, teacher)
        student_shapes, teacher_shapes = shapes(student), shapes(teacher)
        reason = _mismatch(student_shapes, teacher_shapes, layer)
        if reason is not None:
            raise MethodError(f"fitnets {reason}")
        self.mode, self.weight, self.hint_weight = mode, weight, hint_weight
        self.cuda_graph_safe = mode == "joint"  # the two stages depend on `progress`
        self.share, self.temperature = share, temperature
        self.source, self.target = _index(student_shapes, layer), _index(teacher_shapes, layer)
        self.regressor = regressor(student_shapes.stages[self.source], teacher_shapes.stages[self.target])

    def losses(self, student: Output, teacher: Output, batch: Batch) -> dict[str, Tensor]:
        """Return the terms "ce" and "hint"; with two stages "hint" first, then "ce" and "kd"."""
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
        """Return that a stage is missing or has no height and width, or that two stages need the same classes."""
        if teacher is None:
            return NEEDS_TEACHER
        if hyperparameters.get("mode") == "two_stage" and (reason := same_classes(student, teacher)):
            return reason
        return _mismatch(student, teacher, hyperparameters.get("layer", "middle"))

    @classmethod
    def not_summable(cls, **hyperparameters: Any) -> str | None:
        """Return that two stages train without cross-entropy at first."""
        if hyperparameters.get("mode") == "two_stage":
            return "mode = 'two_stage' trains without cross-entropy at first; mode = 'joint' can be summed"
        return None


def _mismatch(student: Shapes, teacher: Shapes, layer: str | int) -> str | None:
    for role, found in (("student", student), ("teacher", teacher)):
        if not spatial_stages(found):
            return f"needs a stage with height and width, but the {role} has none (an MLP's stages have H = W = 1)"
        if isinstance(layer, int) and layer not in spatial_stages(found):
            return f"reads stage {layer}, but the {role}'s stages with height and width are {spatial_stages(found)}"
    source, target = student.stages[_index(student, layer)], teacher.stages[_index(teacher, layer)]
    if (source[1] - target[1]) * (source[2] - target[2]) < 0:
        return f"cannot map the student's stage (C, H, W) {source} to the teacher's {target}: one is higher, one wider"
    return None


def _index(found: Shapes, layer: str | int) -> int:
    if isinstance(layer, int):
        return layer
    indices = spatial_stages(found)
    return indices[-1] if layer == "final" else indices[(len(indices) - 1) // 2]
