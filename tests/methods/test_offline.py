"""What an offline method requires of a pair follows from what its losses read."""

from typing import final

import pytest
import torch
from torch import nn

from kdbench.methods import METHODS
from kdbench.methods.offline import Offline
from kdbench.training.method import Method, Shapes, Task
from kdbench.training.network import Frozen

MAPS, FLAT, FIVE = Shapes(((4, 8, 8),), 4, 10), Shapes(((4, 1, 1),), 4, 10), Shapes(((4, 8, 8),), 4, 5)
TASK = Task(num_classes=10, train_size=100, image_shape=(3, 32, 32))


class Reading(Offline):
    """Reads what a subclass declares."""

    def losses(self, student, teacher, batch):
        return {"ce": student.logits.sum()}


def reading(fields):
    return type("Method", (Reading,), {} if fields is None else {"reads": fields})


@pytest.mark.parametrize(
    ("fields", "flat", "five"),
    [
        ("logits", None, "compares logits, but the teacher has 5 classes and the student 10"),
        ("embedding", None, None),
        ("maps", "compares feature maps and needs stages with height and width, but the teacher has none", None),
        ("all", None, None),
        (None, None, None),
    ],
)
def test_requirements_follow_from_reads(fields, flat, five):
    method = reading(fields)
    for teacher, expected in ((MAPS, None), (FLAT, flat), (FIVE, five)):
        reason = method.incompatible(MAPS, teacher, TASK)
        assert reason is None if expected is None else reason.startswith(expected)
    assert method.incompatible(MAPS, None, TASK) == "needs a teacher"


def test_the_batch_must_be_large_enough():
    method = type("Method", (Reading,), {"min_batch_size": 65})
    assert method.incompatible(MAPS, MAPS, TASK).endswith("batch size of at least 65, got 64")
    assert method.incompatible(MAPS, MAPS, Task(10, 100, (3, 32, 32), batch_size=65)) is None


def test_every_method_declares_what_it_reads():
    offline = {name: method for name, method in METHODS.items() if issubclass(method, Offline)}
    assert {name for name, method in offline.items() if method.reads == "all"} == set()
    overriding = {name for name, m in offline.items() if m.incompatible.__func__ is not Offline.incompatible.__func__}
    assert overriding == {"fitnets"}


@final
class Adding(Method):
    """Adds modules of all kinds."""

    paper = "none"

    def __init__(self, student, teacher):
        super().__init__()
        self.student = student
        self.teacher = Frozen.of(teacher)
        self.older = nn.ModuleList([Frozen.of(nn.Linear(2, 2))])
        self.activation = nn.ReLU()
        self.regressor = nn.Linear(2, 2)
        self.register_buffer("memory", torch.zeros(2))

    def steps(self, batch):
        yield from ()


def test_the_default_player_has_every_module_to_train():
    method = Adding(nn.Linear(2, 2), nn.Linear(2, 2))
    assert list(method.players()) == ["student"]
    assert list(method.players()["student"]) == [method.student, method.regressor]


def test_the_student_is_deployed_by_default():
    method = Adding(nn.Linear(2, 2), nn.Linear(2, 2))
    assert method.deployed() == {"student": method.student}
