"""Methods are built from roles, and checked on a pair of networks."""

from typing import final

import pytest
from torch import nn

from kdbench.errors import MethodError
from kdbench.methods import METHODS, check, create
from kdbench.methods.feature.fitnets import FitNets
from kdbench.methods.offline import Offline
from kdbench.methods.response.vanilla import Vanilla
from kdbench.methods.sums import Sum
from kdbench.training.method import Shapes, Task
from kdbench.training.network import Frozen, shapes


@final
class Roleless(Offline):
    """Has an unknown role."""

    paper = "none"

    def __init__(self, student: nn.Module, tutor: nn.Module) -> None:
        super().__init__(student, tutor)

    def losses(self, student, teacher, batch):
        return {}


def test_create_fills_roles_and_hyperparameters(student, teacher):
    method = create("vanilla", student=student, teacher=teacher, alpha=0.5, temperature=2)
    assert isinstance(method, Vanilla)
    assert (method.student, method.teacher.network, method.alpha, method.temperature) == (student, teacher, 0.5, 2.0)


def test_create_takes_a_class(student, teacher):
    method = create(Vanilla, student=student, teacher=teacher, alpha=0.5)
    assert isinstance(method, Vanilla)
    assert method.alpha == 0.5


def test_create_leaves_out_inactive_hyperparameters(student, teacher):
    method = create("fitnets", student=student, teacher=teacher, mode="two_stage", share=0.5)
    assert (method.share, method.weight) == (0.5, 100.0)
    with pytest.raises(MethodError, match=r"'fitnets' does not use weight = 2\.0 with mode = 'two_stage'"):
        create("fitnets", student=student, teacher=teacher, mode="two_stage", weight=2.0)


def test_create_keeps_a_frozen_teacher(student, teacher):
    frozen = Frozen(teacher)
    assert create("vanilla", student=student, teacher=frozen).teacher is frozen


def test_create_ignores_roles_that_a_method_does_not_have(student, teacher, task):
    assert list(create("scratch", student=student, teacher=teacher, task=task).children()) == [student]


def test_create_rejects_invalid_hyperparameters(student, teacher):
    with pytest.raises(MethodError, match="'vanilla' has no hyperparameter 'temprature'; did you mean 'temperature'"):
        create("vanilla", student=student, teacher=teacher, temprature=2.0)
    with pytest.raises(MethodError, match=r"alpha must be less than or equal to 1, got 1\.5"):
        create("vanilla", student=student, teacher=teacher, alpha=1.5)


@pytest.mark.parametrize(
    ("name", "missing"), [("vanilla", "a teacher; pass teacher="), ("dml", "peers; pass peers="), ("zskt", "a task")]
)
def test_create_names_a_missing_role(student, teacher, name, missing):
    with pytest.raises(MethodError, match=f"'{name}' needs {missing}"):
        create(name, student=student, **({} if name == "vanilla" else {"teacher": teacher}))


def test_create_names_an_unknown_role(student, teacher, monkeypatch):
    monkeypatch.setitem(METHODS, "roleless", Roleless)
    with pytest.raises(MethodError, match="'roleless' has the unknown role 'tutor'; valid: peers"):
        create("roleless", student=student, teacher=teacher)


def test_create_sums_methods_with_parameters_by_part(student, teacher, batch):
    method = create(
        ["fitnets", "vanilla"], student=student, teacher=teacher, parameters={"vanilla": {"temperature": 2.0}}
    )
    assert isinstance(method, Sum)
    fitnets, vanilla = method.parts
    assert isinstance(fitnets, FitNets)
    assert (vanilla.temperature, vanilla.alpha) == (2.0, 0.9)
    assert vanilla.teacher is fitnets.teacher
    assert list(next(method.steps(batch)).losses) == ["ce", "hint", "kl"]


def test_a_list_of_one_name_creates_that_method(student, teacher):
    method = create(["vanilla"], student=student, teacher=teacher, parameters={"vanilla": {"alpha": 0.2}})
    assert isinstance(method, Vanilla)
    assert method.alpha == 0.2


@pytest.mark.parametrize(
    ("names", "configurations", "message"),
    [
        (
            ["vanilla", "attention"],
            {"alpha": 0.2},
            r"alpha: the parts of a sum have .* their own; write parameters={'vanilla'",
        ),
        (["vanilla", "attention"], {"parameters": {"vanila": {}}}, "'vanila', which is not created; did you mean"),
        (["vanilla", "vanilla"], {}, "one or more different methods, got"),
        ([], {}, r"a sum must name one or more different methods, got \[\]"),
        (["vanilla", "scratch"], {}, "'scratch' cannot be a part of a sum: only methods with one fixed teacher"),
        (["vanilla", "fitnets"], {"parameters": {"fitnets": {"mode": "two_stage"}}}, "'fitnets' cannot be a part"),
    ],
)
def test_create_rejects_invalid_sums(student, teacher, names, configurations, message):
    with pytest.raises(MethodError, match=message):
        create(names, student=student, teacher=teacher, **configurations)


def test_check_accepts_compatible_pairs(student, teacher, task):
    ours, theirs = shapes(student), shapes(teacher)
    for name in METHODS:
        assert check([name], {}, ours, theirs, task) is None
    assert check("scratch", {}, ours, None, task) is None
    assert check(["fitnets", "vanilla", "rkd_da"], {"vanilla": {"alpha": 0.5}}, ours, theirs, task) is None


@pytest.mark.parametrize(
    ("names", "parameters", "reason"),
    [
        (
            ["attention"],
            {},
            "attention compares feature maps and needs stages with height and width, but the student",
        ),
        (["vanilla", "fitnets"], {}, "fitnets needs a stage with height and width, but the student has none"),
        (["vanilla", "scratch"], {}, "scratch cannot be a part of a sum: only methods with one fixed teacher"),
        (["vanilla", "fitnets"], {"fitnets": {"mode": "two_stage"}}, "fitnets cannot be a part of a sum: mode"),
    ],
)
def test_check_returns_why_a_pair_is_incompatible(flat, teacher, task, names, parameters, reason):
    assert check(names, parameters, shapes(flat), shapes(teacher), task).startswith(reason)


@pytest.mark.parametrize("name", ["vanilla", "logit_mse", "rkd_v1", "rkd_v2", "rkd_v3", "rkd_v4"])
def test_check_requires_the_same_classes_for_logits(name, task):
    other = Shapes((), 8, 3)
    assert "the teacher has 3 classes and the student 4" in check([name], {}, Shapes((), 8, 4), other, task)


def test_check_requires_a_teacher_for_an_offline_method(student, task):
    assert check(["vanilla"], {}, shapes(student), None, task) == "vanilla needs a teacher"


def test_check_requires_three_images_for_relations(student, teacher):
    small = Task(4, 64, (3, 8, 8), batch_size=2)
    assert check(["rkd_a"], {}, shapes(student), shapes(teacher), small).endswith("at least 3, got 2")


def test_check_rejects_invalid_hyperparameters(student, teacher, task):
    with pytest.raises(MethodError, match="alpha must be"):
        check(["vanilla"], {"vanilla": {"alpha": -1.0}}, shapes(student), shapes(teacher), task)
