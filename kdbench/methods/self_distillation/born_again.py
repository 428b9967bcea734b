"""Born-again networks: a chain of equal networks, each taught by the one before it."""

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
    """L = CE(z_s, y) + KL(softmax(z_t) || softmax(z_s)); logits (B, K), T = 1.

    The student is the last of `generations` born-again networks; `teacher` is the generation before it, and `teachers`
    are the still older ones, from generation 0 (trained without a teacher) on. They serve the ensemble only. All
    generations begin with the same weights, since these are the seed's and not the method's; in the paper each begins
    with its own.
    """

    paper = "Furlanello, Lipton, Tschannen, Itti, Anandkumar, ICML 2018, arXiv:1805.04770"
    cuda_graph_safe = True

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
        self.teacher = _frozen(teacher)
        self.teachers = nn.ModuleList(_frozen(older) for older in teachers)
        self.generations = generations

    def steps(self, batch: Batch) -> Iterator[Step]:
        """One step a batch; terms "ce" and "kl"."""
        logits, targets = self.student(batch.images).logits, self.teacher(batch.images).logits
        yield Step({"ce": cross_entropy(logits, batch.labels), "kl": kl_divergence(logits, targets)})

    def players(self) -> dict[str, nn.Module]:
        """The student."""
        return {"student": self.student}

    def deployed(self) -> dict[str, nn.Module]:
        """The student, and the ensemble of all generations as an extra score."""
        return {"student": self.student, "ensemble": Ensemble([*self.teachers, self.teacher, self.student])}

    @classmethod
    def needs(cls, spec: RunSpec) -> dict[str, RunSpec]:
        """The generations before this one, each with its own needs; the pair's teacher is not among them."""
        (part,) = spec.parts
        chain = [spec.scratch()]
        for generation in range(1, part.hyperparameters.get("generations", GENERATIONS)):
            younger = replace(part, hyperparameters={**part.hyperparameters, "generations": generation})
            chain.append(replace(spec, parts=(younger,), needs=tuple(_roles(chain).items())))
        return _roles(chain)


def _roles(chain: Sequence[RunSpec]) -> dict[str, RunSpec]:
    *older, teacher = chain
    return {"teacher": teacher, **{f"teachers.{i}": spec for i, spec in enumerate(older)}}


def _frozen(network: nn.Module) -> Frozen:
    return network if isinstance(network, Frozen) else Frozen(network)


@final
class Ensemble(nn.Module):
    """The mean of its members' probabilities; its logits are the logarithm of that mean."""

    def __init__(self, members: Iterable[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Of its members."""
        return cast("tuple[int, int, int]", self.members[0].image_shape)

    def forward(self, images: Tensor) -> Output:
        """Images (B, C, H, W) to logits (B, K) and the embeddings of all members, side by side."""
        outputs: list[Output] = [member(images).float() for member in self.members]
        logs = torch.stack([F.log_softmax(output.logits, dim=1) for output in outputs])
        logits = logs.logsumexp(dim=0) - math.log(len(outputs))
        return Output(logits, (), (), torch.cat([output.embedding for output in outputs], dim=1))
