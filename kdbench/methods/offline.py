"""The base class of most methods: one student, one fixed teacher, one step per batch."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from kdbench.methods.requirements import NEEDS_TEACHER, enough_images, same_classes, spatial_maps
from kdbench.training.method import Batch, Method, Output, Shapes, Step, Task
from kdbench.training.network import Frozen
from kdbench.training.precision import without_autocast

Reads = Literal["logits", "embedding", "maps", "all"]  # each includes those before it


class Offline(Method, ABC):
    """A method that is defined by its losses.

    A subclass implements `losses` and declares by `reads` which fields of both outputs they use. The requirements on a
    pair follow from that:

    - `"logits"`: student and teacher have the same number of classes;
    - `"embedding"`, and logits: none;
    - `"maps"` (stages and preacts), embedding and logits: both have stages with height and width;
    - `"all"` (default): none, and every field is computed.

    A loss with other requirements overrides `incompatible`. `min_batch_size` is the smallest batch on which the losses
    are defined.

    Modules that the method adds (regressors, embeddings) train with the student and are not deployed.
    """

    reads: Reads = "all"  # the other fields of an output may be missing, or not in float32
    min_batch_size: ClassVar[int] = 1

    def __init__(self, student: nn.Module, teacher: nn.Module) -> None:
        super().__init__()
        self.student = student
        self.teacher = Frozen.of(teacher)

    @abstractmethod
    def losses(self, student: Output, teacher: Output, batch: Batch) -> dict[str, Tensor]:
        """Return the named terms whose sum is minimized. Both outputs are in float32, and autocast is off."""

    def steps(self, batch: Batch) -> Iterator[Step]:
        """Yield one step."""
        yield Step(self._terms(batch))

    def _terms(self, batch: Batch) -> Mapping[str, Tensor]:
        student, teacher = (
            network(batch.images).float(self.reads in ("maps", "all")) for network in (self.student, self.teacher)
        )
        with without_autocast(batch.images.device.type):
            return self.losses(student, teacher, batch)

    @classmethod
    def incompatible(cls, student: Shapes, teacher: Shapes | None, task: Task, **hyperparameters: Any) -> str | None:
        """Return what `reads` and `min_batch_size` require and the pair or the task lacks, or None."""
        if teacher is None:
            return NEEDS_TEACHER
        reason = None
        if cls.reads == "logits":
            reason = same_classes(student, teacher)
        elif cls.reads == "maps":
            reason = spatial_maps(student, teacher)
        return reason or enough_images(task, cls.min_batch_size)

    @classmethod
    def not_summable(cls, **hyperparameters: Any) -> str | None:
        """Return why the method cannot be a part of a sum, or None.

        A part of a sum has the plain cross-entropy on the student's logits as its term "ce".
        """
        return None
