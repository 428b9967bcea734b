"""Methods are found by name, built from roles, and say why they cannot run."""

import sys
from importlib.metadata import EntryPoint, EntryPoints
from typing import final

import pytest
from torch import nn

from kdbench.errors import MethodError
from kdbench.methods import METHODS, check, create, find, source_hash
from kdbench.methods.feature.fitnets import FitNets
from kdbench.methods.offline import Offline
from kdbench.methods.response.vanilla import Vanilla
from kdbench.methods.sums import Sum
from kdbench.training.method import Shapes, Task
from kdbench.training.network import Frozen, shapes

SOURCE = """
from typing import final
from kdbench.methods.offline import Offline

@final
class Mine(Offline):
    paper = "mine"

    def losses(self, student, teacher, batch):
        return {"ce": student.logits.sum()}

class Open(Offline):
    paper = "open"
"""


@final
class Roleless(Offline):
    """Asks for a role that there is not."""

    paper = "none"

    def __init__(self, student: nn.Module, tutor: nn.Module) -> None:
        super().__init__(student, tutor)

    def losses(self, student, teacher, batch):
        return {}


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """The file of a user's own method, importable as `mine_of_the_user`."""
    file = tmp_path / "mine_of_the_user.py"
    file.write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    yield file
    sys.modules.pop("mine_of_the_user", None)


def test_the_table_names_the_first_sixteen():
    first = {"scratch", "vanilla", "logit_mse", "fitnets", "attention", "dml", "snapshot", "born_again", "zskt"}
    assert first | {f"rkd_v{i}" for i in range(1, 5)} | {"rkd_d", "rkd_a", "rkd_da"} <= METHODS.keys()


def test_a_key_is_found():
    assert find("vanilla") is Vanilla


def test_an_unknown_name_names_the_nearest():
    with pytest.raises(MethodError, match="there is no method 'vanila'; did you mean 'vanilla'"):
        find("vanila")


def test_a_user_s_own_class_is_found(mine):
    assert find("mine_of_the_user:Mine").paper == "mine"


@pytest.mark.parametrize("name", ["mine_of_the_user:Other", "no_such_module:Mine", ":Mine"])
def test_what_cannot_be_imported_is_refused(mine, name):
    with pytest.raises(MethodError, match=f"method '{name}' cannot be imported: .*'package.module:Class'"):
        find(name)


@pytest.mark.parametrize("name", ["mine_of_the_user:Open", "collections:Counter", "math:pi"])
def test_what_is_no_final_method_is_refused(mine, name):
    with pytest.raises(MethodError, match=f"'{name}' must be a @final class derived from kdbench.Method"):
        find(name)


def test_an_entry_point_is_found(mine, monkeypatch):
    plugins = EntryPoints([EntryPoint("mine", "mine_of_the_user:Mine", "kdbench.methods")])
    monkeypatch.setattr(
        sys.modules["kdbench.methods.create"], "entry_points", lambda group: plugins.select(group=group)
    )
    assert find("mine").paper == "mine"
    assert source_hash("mine") == source_hash("mine_of_the_user:Mine")
    with pytest.raises(MethodError, match="did you mean 'mine'"):
        find("minee")


def test_the_source_of_a_user_s_own_method_is_hashed(mine):
    first = source_hash("mine_of_the_user:Mine")
    mine.write_text(SOURCE + "# changed\n")
    assert len(first) == 16
    assert source_hash("mine_of_the_user:Mine") != first
    assert source_hash("vanilla") is None
    assert source_hash("kdbench.methods.response.vanilla:Vanilla") is None


def test_create_fills_roles_and_hyperparameters(student, teacher):
    method = create("vanilla", student=student, teacher=teacher, alpha=0.5, temperature=2)
    assert isinstance(method, Vanilla)
    assert (method.student, method.teacher.network, method.alpha, method.temperature) == (student, teacher, 0.5, 2.0)


def test_create_leaves_a_frozen_teacher_as_it_is(student, teacher):
    frozen = Frozen(teacher)
    assert create("vanilla", student=student, teacher=frozen).teacher is frozen


def test_create_ignores_roles_that_a_method_has_not(student, teacher, task):
    assert list(create("scratch", student=student, teacher=teacher, task=task).children()) == [student]


def test_create_refuses_bad_hyperparameters(student, teacher):
    with pytest.raises(MethodError, match="'vanilla' has no hyperparameter 'temprature'; did you mean 'temperature'"):
        create("vanilla", student=student, teacher=teacher, temprature=2.0)
    with pytest.raises(MethodError, match=r"alpha must be less than or equal to 1, got 1\.5"):
        create("vanilla", student=student, teacher=teacher, alpha=1.5)


@pytest.mark.parametrize(
    ("name", "missing"), [("vanilla", "a teacher; pass teacher="), ("dml", "peers; pass peers="), ("zskt", "a task")]
)
def test_create_names_the_role_that_is_missing(student, teacher, name, missing):
    with pytest.raises(MethodError, match=f"'{name}' needs {missing}"):
        create(name, student=student, **({} if name == "vanilla" else {"teacher": teacher}))


def test_create_names_a_role_that_there_is_not(student, teacher, monkeypatch):
    monkeypatch.setitem(METHODS, "roleless", Roleless)
    with pytest.raises(MethodError, match="'roleless' asks for the role 'tutor'; valid: peers"):
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


def test_a_list_of_one_is_that_method(student, teacher):
    method = create(["vanilla"], student=student, teacher=teacher, parameters={"vanilla": {"alpha": 0.2}})
    assert isinstance(method, Vanilla)
    assert method.alpha == 0.2


@pytest.mark.parametrize(
    ("names", "configurations", "message"),
    [
        (["vanilla", "attention"], {"alpha": 0.2}, r"which method of the sum has alpha\? write parameters={'vanilla'"),
        (["vanilla", "attention"], {"parameters": {"vanila": {}}}, "'vanila', which is not asked for; did you mean"),
        (["vanilla", "vanilla"], {}, "methods that differ from one another, got"),
        ([], {}, r"a sum needs methods that differ from one another, got \[\]"),
        (["vanilla", "scratch"], {}, "'scratch' cannot be a part of a sum: only methods with one fixed teacher"),
        (["vanilla", "fitnets"], {"parameters": {"fitnets": {"mode": "two_stage"}}}, "'fitnets' cannot be a part"),
    ],
)
def test_sums_that_make_no_sense_are_refused(student, teacher, names, configurations, message):
    with pytest.raises(MethodError, match=message):
        create(names, student=student, teacher=teacher, **configurations)


def test_check_passes_what_can_run(student, teacher, task):
    ours, theirs = shapes(student), shapes(teacher)
    for name in METHODS:
        assert check([name], {}, ours, theirs, task) is None
    assert check("scratch", {}, ours, None, task) is None
    assert check(["fitnets", "vanilla", "rkd_da"], {"vanilla": {"alpha": 0.5}}, ours, theirs, task) is None


@pytest.mark.parametrize(
    ("names", "parameters", "reason"),
    [
        (["attention"], {}, "attention needs stages with height and width, but those of the student have none"),
        (["vanilla", "fitnets"], {}, "fitnets needs a stage with height and width, but the student has none"),
        (["vanilla", "scratch"], {}, "scratch cannot be a part of a sum: only methods with one fixed teacher"),
        (["vanilla", "fitnets"], {"fitnets": {"mode": "two_stage"}}, "fitnets cannot be a part of a sum: mode"),
    ],
)
def test_check_says_why_a_cell_cannot_run(flat, teacher, task, names, parameters, reason):
    assert check(names, parameters, shapes(flat), shapes(teacher), task).startswith(reason)


@pytest.mark.parametrize("name", ["vanilla", "logit_mse", "rkd_v1", "rkd_v2", "rkd_v3", "rkd_v4"])
def test_check_wants_the_teacher_s_classes_for_logits(name, task):
    other = Shapes((), 8, 3)
    assert "the teacher has 3 classes and the student 4" in check([name], {}, Shapes((), 8, 4), other, task)


def test_check_wants_a_teacher_for_an_offline_method(student, task):
    assert check(["vanilla"], {}, shapes(student), None, task) == "vanilla needs a teacher"


def test_check_wants_three_images_for_relations(student, teacher):
    small = Task(4, 64, (3, 8, 8), batch_size=2)
    assert check(["rkd_a"], {}, shapes(student), shapes(teacher), small).endswith("at least 3, got 2")


def test_check_refuses_bad_hyperparameters(student, teacher, task):
    with pytest.raises(MethodError, match="alpha must be"):
        check(["vanilla"], {"vanilla": {"alpha": -1.0}}, shapes(student), shapes(teacher), task)
