"""One fixed teacher, one student: the frame of most methods."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from kdbench.training.method import Batch, Method, Output, Step
from kdbench.training.network import Frozen

Reads = Literal["logits", "embedding", "maps"]  # each with those before it


class Offline(Method, ABC):
    """A method that only has to say its losses.

    Modules that the method adds (regressors, embeddings) train with the student, at the student's rate, and are not
    deployed.
    """

    reads: Reads = "maps"  # what the losses read of both outputs; the rest may not be float32, or not there

    def __init__(self, student: nn.Module, teacher: nn.Module) -> None:
        super().__init__()
        self.student = student
        self.teacher = teacher if isinstance(teacher, Frozen) else Frozen(teacher)

    @abstractmethod
    def losses(self, student: Output, teacher: Output, batch: Batch) -> dict[str, Tensor]:
        """The named terms, whose sum is minimized. Both outputs are float32; autocast is off."""

    @classmethod
    def not_summable(cls, **hyperparameters: Any) -> str | None:
        """Why the method cannot be a part of a sum, or None.

        A part of a sum keeps the plain cross-entropy on the student's logits as its term "ce".
        """
        return None

    def steps(self, batch: Batch) -> Iterator[Step]:
        """One step a batch."""
        yield Step(self._terms(batch))

    def _terms(self, batch: Batch) -> Mapping[str, Tensor]:
        student, teacher = (
            network(batch.images).float(self.reads == "maps") for network in (self.student, self.teacher)
        )
        with torch.autocast(batch.images.device.type, enabled=False):
            return self.losses(student, teacher, batch)

    def players(self) -> dict[str, nn.Module]:
        """The student with all modules that the method adds."""
        return {"student": nn.ModuleList(m for m in self.children() if not isinstance(m, Frozen))}

    def deployed(self) -> dict[str, nn.Module]:
        """The bare student."""
        return {"student": self.student}
