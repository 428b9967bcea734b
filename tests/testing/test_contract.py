"""`check_method` accepts a method that satisfies the contract, and states the rule that a method breaks."""

from abc import ABC, abstractmethod
from typing import Annotated, Literal, final

import pytest
import torch
from annotated_types import Ge, Gt, Le
from torch import nn

from kdbench.hyperparameters import Tune, When
from kdbench.methods.losses import cross_entropy, kd_loss
from kdbench.methods.offline import Offline
from kdbench.testing import check_method
from kdbench.testing.contract import check_cohort, check_resume
from kdbench.testing.drive import Subject
from kdbench.training.method import Method, OptimizerSpec, Output, Step


class Plain(Offline, ABC):
    """Vanilla distillation; each class below breaks one rule."""

    paper = "Nobody, Nowhere 2000"
    reads = "logits"

    def losses(self, student, teacher, batch):
        return {"ce": cross_entropy(student.logits, batch.labels), "kl": kd_loss(student.logits, teacher.logits, 4.0)}


@final
class Good(Plain):
    """Keeps the contract in both modes."""

    def __init__(
        self,
        student: nn.Module,
        teacher: nn.Module,
        *,
        mode: Literal["plain", "weighted"] = "plain",
        weight: Annotated[float, Ge(0), Tune(0.1, 10), When(mode="weighted")] = 1.0,
    ) -> None:
        super().__init__(student, teacher)
        self.weight = weight if mode == "weighted" else 1.0
        self.is_weighted = mode == "weighted"

    def losses(self, student, teacher, batch):
        terms = super().losses(student, teacher, batch)
        return {**terms, "kl": self.weight * terms["kl"]}


@final
class Partial(Plain):
    """Does not implement all methods."""

    @abstractmethod
    def more(self): ...


class NotFinal(Plain):
    """Is not final."""


@final
class Undocumented(Plain):
    pass


@final
class Paperless(Plain):
    """Has no paper."""

    paper = ""


@final
class UnknownRole(Plain):
    """Has a role that does not exist."""

    def __init__(self, student: nn.Module, tutor: nn.Module) -> None:
        super().__init__(student, tutor)


@final
class TeacherFirst(Plain):
    """Has the teacher before the student."""

    def __init__(self, teacher: nn.Module, student: nn.Module) -> None:
        super().__init__(student, teacher)


@final
class Variadic(Plain):
    """Takes any arguments."""

    def __init__(self, student: nn.Module, teacher: nn.Module, **options: float) -> None:
        super().__init__(student, teacher)


@final
class Unbounded(Plain):
    """Has a number without bounds."""

    def __init__(self, student: nn.Module, teacher: nn.Module, *, weight: float = 1.0) -> None:
        super().__init__(student, teacher)


@final
class BadRange(Plain):
    """Has a search range out of bounds."""

    def __init__(
        self, student: nn.Module, teacher: nn.Module, *, alpha: Annotated[float, Gt(0), Le(1), Tune(0.1, 2)] = 0.5
    ) -> None:
        super().__init__(student, teacher)


@final
class BadCondition(Plain):
    """Depends on a hyperparameter that does not exist."""

    def __init__(
        self, student: nn.Module, teacher: nn.Module, *, alpha: Annotated[float, Ge(0), When(mode="a")] = 0.5
    ) -> None:
        super().__init__(student, teacher)


@final
class NoDict(Plain):
    """Returns a tensor in place of a dict."""

    def losses(self, student, teacher, batch):
        return torch.nn.functional.cross_entropy(student.logits, batch.labels)


@final
class Vector(Plain):
    """Returns a loss per image."""

    def losses(self, student, teacher, batch):
        return {"ce": torch.nn.functional.cross_entropy(student.logits, batch.labels, reduction="none")}


@final
class Infinite(Plain):
    """Returns an infinite loss."""

    def losses(self, student, teacher, batch):
        return {"ce": cross_entropy(student.logits, batch.labels) / 0}


@final
class HalfPrecision(Method):
    """Computes a loss under autocast."""

    paper = "Nobody, Nowhere 2000"

    def __init__(self, student: nn.Module) -> None:
        super().__init__()
        self.student = student

    def steps(self, batch):
        logits = self.student(batch.images).logits
        yield Step({"square": (logits @ logits.T).mean()})


@final
class Stepless(Plain):
    """Takes no step."""

    def steps(self, batch):
        return iter(())


@final
class OpenBlock(Plain):
    """Leaves a block open across a yield."""

    def steps(self, batch):
        with torch.no_grad():
            yield from super().steps(batch)


@final
class WrongPlayer(Plain):
    """Names a player that does not exist."""

    def steps(self, batch):
        for step in super().steps(batch):
            yield Step(step.losses, "pupil")


@final
class Detached(Plain):
    """Has a loss that does not depend on the student."""

    def losses(self, student, teacher, batch):
        return {"ce": cross_entropy(student.logits.detach(), batch.labels)}


@final
class TeacherTrains(Plain):
    """Adds the teacher's parameters to the player."""

    def players(self):
        return {"student": nn.ModuleList([self.student, self.teacher])}


@final
class Unlisted(Plain):
    """Has a parameter that no player trains."""

    def __init__(self, student: nn.Module, teacher: nn.Module) -> None:
        super().__init__(student, teacher)
        self.scale = nn.Parameter(torch.ones(()))


@final
class Idle(Plain):
    """Adds a module that no loss depends on."""

    def __init__(self, student: nn.Module, teacher: nn.Module) -> None:
        super().__init__(student, teacher)
        self.extra = nn.Linear(2, 2)


@final
class UnknownOptimizer(Plain):
    """Gives an optimizer to a player that does not exist."""

    def optimizers(self):
        return {"generator": OptimizerSpec()}


@final
class TwoPlayers(Plain):
    """Moves the other player as well."""

    def __init__(self, student: nn.Module, teacher: nn.Module) -> None:
        super().__init__(student, teacher)
        self.other = nn.Linear(4, 4)

    def players(self):
        return {"student": self.student, "other": self.other}

    def steps(self, batch):
        logits = self.student(batch.images).logits
        yield Step({"ce": cross_entropy(logits, batch.labels)})
        with torch.no_grad():
            self.student.head.bias += 1
        yield Step({"ce": cross_entropy(self.other(logits.detach()), batch.labels)}, "other")


@final
class Thawed(Method):
    """Has a teacher that is not frozen."""

    paper = "Nobody, Nowhere 2000"

    def __init__(self, student: nn.Module, teacher: nn.Module) -> None:
        super().__init__()
        self.student = student
        self.teachers = [teacher.network]
        self.teacher = teacher.network

    def players(self):
        return {"student": self.student}

    def steps(self, batch):
        logits, targets = self.student(batch.images).logits, self.teacher(batch.images).logits
        yield Step({"kl": kd_loss(logits, targets, 1.0)})


@final
class Writes(Plain):
    """Writes to the batch."""

    def losses(self, student, teacher, batch):
        batch.images.mul_(1.0)
        return super().losses(student, teacher, batch)


@final
class NoStudent(Plain):
    """Deploys a network by another name."""

    def deployed(self):
        return {"network": self.student}


@final
class NamedBest(Plain):
    """Deploys a network by a reserved name."""

    def deployed(self):
        return {"student": self.student, "best": self.student}


@final
class WrongClasses(Plain):
    """Deploys a network without a classifier."""

    def deployed(self):
        return {"student": self.student, "head": Headless(self.student)}


class Headless(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images):
        output = self.network(images)
        return Output(output.embedding, (), (), output.embedding)


@final
class OwnState(Plain):
    """Keeps state outside of `state_dict`."""

    def __init__(self, student: nn.Module, teacher: nn.Module) -> None:
        super().__init__(student, teacher)
        self.count = 0

    def losses(self, student, teacher, batch):
        self.count += 1
        return {"ce": self.count * cross_entropy(student.logits, batch.labels)}


@final
class Unseeded(Plain):
    """Draws from a generator that no seed sets."""

    generator = torch.Generator()

    def losses(self, student, teacher, batch):
        scale = torch.rand((), generator=self.generator)
        return {"ce": scale * cross_entropy(student.logits, batch.labels)}


@final
class CountsTeacher(Plain):
    """Depends on how often other methods call the teacher."""

    def __init__(self, student: nn.Module, teacher: nn.Module) -> None:
        super().__init__(student, teacher)
        self.count = 0
        self.teacher.network.register_forward_hook(self.add_one)

    def add_one(self, *_):
        self.count += 1

    def losses(self, student, teacher, batch):
        return {"ce": self.count * cross_entropy(student.logits, batch.labels)}


@final
class ReadsMore(Plain):
    """Reads the embedding, which it does not declare."""

    def losses(self, student, teacher, batch):
        return {"norm": student.embedding.norm(), **super().losses(student, teacher, batch)}


@final
class ReadsMaps(Plain):
    """Reads feature maps, which it does not declare."""

    reads = "embedding"

    def losses(self, student, teacher, batch):
        return {"norm": student.stages[-1].float().norm(), **super().losses(student, teacher, batch)}


@final
class OtherDevice(Plain):
    """Creates a tensor without the batch's device."""

    def losses(self, student, teacher, batch):
        terms = super().losses(student, teacher, batch)
        return {**terms, "kl": torch.ones(1).mean() * terms["kl"]}


@final
class Waits(Plain):
    """Reads a value on the host."""

    cuda_graph_safe = True

    def losses(self, student, teacher, batch):
        return {"ce": cross_entropy(student.logits, batch.labels) * (1 if batch.labels.sum() > 0 else 2)}


BROKEN = {
    NotFinal: "must be decorated with @typing.final",
    Partial: "must implement more",
    Undocumented: "must have a docstring",
    Paperless: "must name its paper: paper = ",
    UnknownRole: r"positional arguments are roles \(student, .*\), got tutor",
    TeacherFirst: "the first argument must be the role 'student'",
    Variadic: "arguments must be positional-or-keyword .* or keyword-only, got options",
    Unbounded: r"weight must have bounds, such as Annotated\[float, Ge\(0\)\]",
    BadRange: "the default and the search range must be valid: alpha must be less than or equal to 1, got 2",
    BadCondition: "alpha depends on 'mode', which is not declared before it",
    NoDict: r'losses must be a dict from names to scalar tensors, such as {"ce": loss}, got Tensor',
    Vector: r"the loss 'ce' must be a scalar tensor, got shape \(8,\)",
    Infinite: "the loss 'ce' must be finite, got inf",
    HalfPrecision: "the loss 'square' must be float32 under bfloat16 autocast, got torch.bfloat16; compute it in",
    Stepless: "must yield at least one step per batch",
    OpenBlock: r"must not yield inside `with torch.no_grad\(\)`",
    WrongPlayer: r"a step names the player 'pupil', players\(\) are \['student'\]",
    Detached: r"the losses \['ce'\] must depend on the player 'student'",
    TeacherTrains: r"student\.1\..* is also a parameter of the teacher",
    Unlisted: "every parameter to train must belong to a player, got scale in none",
    Idle: "every parameter of a player must get a gradient in some step; 'student' has 1.weight, 1.bias",
    UnknownOptimizer: r"optimizers\(\) must have keys of players\(\) \['student'\], got generator",
    TwoPlayers: "a step of 'other' must not move 'student'; values differ in",
    Thawed: "the teacher must not change; values differ in teacher.",
    Writes: r"steps\(\) must not write to batch.images",
    NoStudent: r"deployed\(\) must list 'student' first, got \['network'\]",
    NamedBest: r"deployed\(\) must not use the name 'best', that of the best validation epoch",
    WrongClasses: r"'head' must give logits \(8, 4\), got \(8, 8\)",
    OwnState: r"state_dict\(\) must hold all state of a method",
    Unseeded: "the same seed must give the same weights",
    ReadsMore: r'losses\(\) must use only the fields that reads = "logits" declares; values differ in norm',
    ReadsMaps: r'must use only the fields that reads = "embedding" declares; without the others it raises IndexError',
    OtherDevice: "tensors must be created with device=batch.images.device: ",
    Waits: "a method with cuda_graph_safe = True must not wait for the GPU, got _local_scalar_dense",
}


@pytest.mark.parametrize("method", BROKEN, ids=lambda method: method.__name__)
def test_a_broken_rule_is_stated(method):
    with pytest.raises(AssertionError, match=f"^{method.__name__}: .*{BROKEN[method]}"):
        check_method(method)


def test_a_class_that_is_no_method_is_refused():
    with pytest.raises(AssertionError, match="Linear: must be a subclass of Method, got <class"):
        check_method(nn.Linear)


def test_a_method_that_satisfies_the_contract_passes():
    state = torch.get_rng_state()
    check_method(Good)
    check_method(Good, mode="weighted", weight=2.0)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_hyperparameter_that_is_refused_is_named():
    with pytest.raises(AssertionError, match=r"Good: 'Good' does not use weight = 2.0 with mode = 'plain'"):
        check_method(Good, weight=2.0)
    with pytest.raises(AssertionError, match="vanilla: alpha must be less than or equal to 1, got 2"):
        check_method("vanilla", alpha=2)


def test_a_name_that_is_unknown_is_refused():
    with pytest.raises(AssertionError, match="vanila: unknown method 'vanila'; did you mean 'vanilla'"):
        check_method("vanila")


def test_a_method_that_depends_on_others_is_found():
    with pytest.raises(AssertionError, match="must train to the same weights alone and beside others"):
        check_cohort(Subject(CountsTeacher))


def test_state_that_a_checkpoint_does_not_hold_is_found():
    with pytest.raises(AssertionError, match="a run resumed from a checkpoint must equal an undisturbed one"):
        check_resume(Subject(OwnState))


@final
class Raises(Plain):
    """Raises in the second half of the run."""

    def losses(self, student, teacher, batch):
        if batch.progress == 0.75:
            raise ValueError("too late")
        return super().losses(student, teacher, batch)


def test_an_error_in_the_training_loop_is_shown():
    with pytest.raises(AssertionError, match=r"must not raise in the training loop, got ValueError\('too late'\)"):
        check_method(Raises)
