"""Sums of methods: one cross-entropy, and beside it the other terms of every part."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast, final, get_args

import torch
from torch import Tensor, nn

from kdbench.errors import MethodError
from kdbench.methods.losses import cross_entropy
from kdbench.methods.offline import Offline, Reads
from kdbench.training.method import Batch, Method, Output, Step
from kdbench.training.network import Frozen


def not_summable(method: type[Method], **hyperparameters: Any) -> str | None:
    """Why a method cannot be a part of a sum, or None."""
    if not issubclass(method, Offline):
        return "only methods with one fixed teacher and one step a batch can be summed"
    if method.steps is not Offline.steps:
        return "it makes steps of its own, and the parts of a sum share one step"
    if method.views != 1 or method.data != "train":
        return "it needs other images than the plain batches of the training set"
    return method.not_summable(**hyperparameters)


@final
class Sum(Method):
    """L = CE(z_s, y) + every term but "ce" of every part, with the part's own weights.

    The parts are offline methods of one student and one teacher, by key; a term that several parts have is named
    "<key>.<term>".

    Raises:
        MethodError: there are fewer than two parts, or they do not share the student and the frozen teacher.
    """

    paper = "the papers of its parts"

    def __init__(self, parts: Mapping[str, Offline]) -> None:
        super().__init__()
        if len(parts) < 2:
            raise MethodError(f"a sum needs at least two methods, got {list(parts)}; name a single one without a list")
        first = next(iter(parts.values()))
        if any(part.student is not first.student or part.teacher is not first.teacher for part in parts.values()):
            raise MethodError("the parts of a sum must share one student and one frozen teacher")
        self.keys, self.parts = tuple(parts), nn.ModuleList(parts.values())
        self.student, self.teacher = first.student, first.teacher
        self.reads = max((part.reads for part in parts.values()), key=get_args(Reads).index)
        self.cuda_graph_safe = all(part.cuda_graph_safe for part in parts.values())

    def steps(self, batch: Batch) -> Iterator[Step]:
        """One step a batch."""
        student, teacher = (
            network(batch.images).float(self.reads == "maps") for network in (self.student, self.teacher)
        )
        with torch.autocast(batch.images.device.type, enabled=False):
            losses = self._losses(student, teacher, batch)
        yield Step(losses)

    def _losses(self, student: Output, teacher: Output, batch: Batch) -> dict[str, Tensor]:
        parts = zip(self.keys, cast("Iterable[Offline]", self.parts), strict=True)
        found = {key: part.losses(student, teacher, batch) for key, part in parts}
        shared = Counter(term for losses in found.values() for term in losses)
        named = {
            term if shared[term] == 1 else f"{key}.{term}": loss
            for key, losses in found.items()
            for term, loss in losses.items()
            if term != "ce"
        }
        return {"ce": cross_entropy(student.logits, batch.labels), **named}

    def players(self) -> dict[str, nn.Module]:
        """The student with all modules that the parts add."""
        added = [m for part in self.parts for m in part.children() if m is not self.student]
        return {"student": nn.ModuleList([self.student, *(m for m in added if not isinstance(m, Frozen))])}

    def deployed(self) -> dict[str, nn.Module]:
        """The bare student."""
        return {"student": self.student}
