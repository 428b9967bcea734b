"""Demands give the reason why they are not met."""

import pytest

from kdbench.methods.requirements import enough_images, same_classes, shared_space, spatial
from kdbench.training.method import Shapes, Task

MAPS = Shapes(((4, 8, 8), (8, 1, 4), (8, 1, 1)), 8, 10)
FLAT = Shapes(((8, 1, 1),), 8, 10)
NONE = Shapes((), 8, 10)


def test_stages_with_more_than_one_pixel_are_spatial():
    assert spatial(MAPS) == [0, 1]
    assert spatial(FLAT) == spatial(NONE) == []


def test_logits_need_the_same_classes():
    assert same_classes(MAPS, FLAT) is None
    assert same_classes(MAPS, None) is None
    assert same_classes(MAPS, Shapes((), 8, 3)) == "compares logits, but the teacher has 3 classes and the student 10"


@pytest.mark.parametrize("student", [FLAT, NONE])
def test_both_networks_need_space(student):
    reason = "needs stages with height and width, but those of the student have none (H = W = 1 or no stage)"
    assert shared_space(student, MAPS) == reason
    assert shared_space(MAPS, student) == reason.replace("student", "teacher")
    assert shared_space(MAPS, MAPS) is None
    assert shared_space(MAPS, None) is None


def test_the_stages_that_are_paired_need_a_common_space():
    tall, wide = Shapes(((4, 8, 1),), 4, 10), Shapes(((4, 1, 8),), 4, 10)
    assert shared_space(tall, tall) is None
    assert shared_space(tall, wide).startswith("needs a pair of stages with height and width on both sides")


def test_relations_need_images():
    assert enough_images(Task(10, 100, (3, 8, 8), batch_size=3), 3) is None
    assert "at least 3, got 2" in enough_images(Task(10, 100, (3, 8, 8), batch_size=2), 3)
