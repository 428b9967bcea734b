"""Sums of methods: one cross-entropy, and the other terms of every part."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, cast, final, get_args

from torch import Tensor, nn

from kdbench.errors import MethodError
from kdbench.methods.losses import cross_entropy
from kdbench.methods.offline import Offline, Reads
from kdbench.training.method import Batch, Method, Output
from kdbench.training.network import Frozen


def not_summable(method: type[Method], **hyperparameters: Any) -> str | None:
    """Return why a method cannot be a part of a sum, or None."""
    if not issubclass(method, Offline):
        return "only methods with one fixed teacher and one step per batch can be summed"
    if method.steps is not Offline.steps:
        return "it has its own steps, and the parts of a sum share one step"
    if method.views != 1 or method.data != "train":
        return "it needs other images than the plain batches of the training set"
    return method.not_summable(**hyperparameters)


@final
class Sum(Offline):
    """`L = CE(z_s, y)` + every term but "ce" of every part, with the part's own weights.

    The parts are offline methods of one student and one teacher, by key. A term that several parts have is called
    "<key>.<term>".

    Raises:
        MethodError: there are fewer than two parts, or they do not share the student and the frozen teacher.
    """

    paper = "the papers of the parts"

    def __init__(self, parts: Mapping[str, Offline]) -> None:
        if len(parts) < 2:
            raise MethodError(f"a sum needs at least two methods, got {list(parts)}; write a single one without a list")
        first = next(iter(parts.values()))
        super().__init__(first.student, first.teacher)
        if any(part.student is not first.student or part.teacher is not first.teacher for part in parts.values()):
            raise MethodError(
                "the parts of a sum must share one student and one frozen teacher; build it with kdbench.methods.create"
            )
        self.keys, self.parts = tuple(parts), nn.ModuleList(parts.values())
        self.reads = max((part.reads for part in parts.values()), key=get_args(Reads).index)
        self.cuda_graph_safe = all(part.cuda_graph_safe for part in parts.values())

    def losses(self, student: Output, teacher: Output, batch: Batch) -> dict[str, Tensor]:
        """Return the term "ce" and the terms of the parts."""
        parts = zip(self.keys, cast("Iterable[Offline]", self.parts), strict=True)
        found = {key: part.losses(student, teacher, batch) for key, part in parts}
        counts = Counter(term for losses in found.values() for term in losses)
        named = {
            term if counts[term] == 1 else f"{key}.{term}": loss
            for key, losses in found.items()
            for term, loss in losses.items()
            if term != "ce"
        }
        return {"ce": cross_entropy(student.logits, batch.labels), **named}

    def players(self) -> dict[str, nn.Module]:
        """Return the student with all modules that the parts add."""
        added = [m for part in self.parts for m in part.children() if m is not self.student]
        return {"student": nn.ModuleList([self.student, *(m for m in added if not isinstance(m, Frozen))])}
