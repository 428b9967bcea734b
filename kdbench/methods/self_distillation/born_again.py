"""Born-again networks: a chain of equal networks, each of which learns from the one before it."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Annotated, cast, final

import torch
import torch.nn.functional as F
from annotated_types import Ge
from torch import Tensor, nn

from kdbench.matrix.spec import RunSpec
from kdbench.methods.losses import cross_entropy, kl_divergence
from kdbench.training.method import Batch, Method, Output, Step
from kdbench.training.network import Frozen

GENERATIONS = 2


@final
class BornAgain(Method):
    """`L = CE(z_s, y) + KL(softmax(z_t) || softmax(z_s))`, with logits z (B, K).

    The student is the last of `generations` born-again networks. `teacher` is the generation before it; `teachers` are
    all earlier ones, from generation 0 (trained from scratch) on, and are used by the ensemble only. The pair's own
    teacher is not used. All generations start from the same weights, which depend on the seed alone; in the paper
    each starts from its own.

    The student is deployed, and the ensemble of all generations as an extra score.
    """

    cuda_graph_safe = True
    paper = "Furlanello, Lipton, Tschannen, Itti, Anandkumar, ICML 2018, arXiv:1805.04770"

    def __init__(
        self,
        student: nn.Module,
        teacher: nn.Module,
        teachers: Iterable[nn.Module] = (),
        *,
        generations: Annotated[int, Ge(1)] = GENERATIONS,
    ) -> None:
        super().__init__()
        self.student = student
        self.teacher = Frozen.of(teacher)
        self.teachers = nn.ModuleList(Frozen.of(older) for older in teachers)
        self.generations = generations

    def steps(self, batch: Batch) -> Iterator[Step]:
        """Yield one step with the terms "ce" and "kl"."""
        logits, targets = self.student(batch.images).logits, self.teacher(batch.images).logits
        yield Step({"ce": cross_entropy(logits, batch.labels), "kl": kl_divergence(logits, targets)})

    def deployed(self) -> dict[str, nn.Module]:
        """Return the student and "ensemble", the ensemble of all generations."""
        return {"student": self.student, "ensemble": Ensemble([*self.teachers, self.teacher, self.student])}

    @classmethod
    def needs(cls, spec: RunSpec) -> dict[str, RunSpec]:
        """Return the generations before this one, each with its own needs."""
        (part,) = spec.parts
        chain = [spec.scratch()]
        for generation in range(1, part.hyperparameters.get("generations", GENERATIONS)):
            earlier = replace(part, hyperparameters={**part.hyperparameters, "generations": generation})
            chain.append(replace(spec, parts=(earlier,), needs=tuple(_roles(chain).items())))
        return _roles(chain)


def _roles(chain: Sequence[RunSpec]) -> dict[str, RunSpec]:
    *older, teacher = chain
    return {"teacher": teacher, **{f"teachers.{i}": spec for i, spec in enumerate(older)}}


@final
class Ensemble(nn.Module):
    """The mean of the members' probabilities; its logits are the logarithm of that mean."""

    def __init__(self, members: Iterable[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """The shape (C, H, W) of the members' images."""
        return cast("tuple[int, int, int]", self.members[0].image_shape)

    def forward(self, images: Tensor) -> Output:
        """Return logits (B, K) and the concatenated embeddings of the members for images (B, C, H, W)."""
        outputs: list[Output] = [member(images).float() for member in self.members]
        log_probabilities = torch.stack([F.log_softmax(output.logits, dim=1) for output in outputs])
        logits = log_probabilities.logsumexp(dim=0) - math.log(len(outputs))
        return Output(logits, (), (), torch.cat([output.embedding for output in outputs], dim=1))
