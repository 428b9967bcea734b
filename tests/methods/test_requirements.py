"""A requirement returns why it is not met."""

import pytest

from kdbench.methods.requirements import enough_images, same_classes, spatial_maps, spatial_stages
from kdbench.training.method import Shapes, Task

MAPS = Shapes(((4, 8, 8), (8, 1, 4), (8, 1, 1)), 8, 10)
FLAT = Shapes(((8, 1, 1),), 8, 10)
NONE = Shapes((), 8, 10)


def test_stages_with_more_than_one_pixel_are_spatial():
    assert spatial_stages(MAPS) == [0, 1]
    assert spatial_stages(FLAT) == spatial_stages(NONE) == []


@pytest.mark.parametrize("requirement", [same_classes, spatial_maps])
def test_a_comparison_needs_a_teacher(requirement):
    assert requirement(MAPS, None) == "needs a teacher"


def test_logits_need_the_same_classes():
    assert same_classes(MAPS, FLAT) is None
    assert same_classes(MAPS, Shapes((), 8, 3)) == "compares logits, but the teacher has 3 classes and the student 10"


@pytest.mark.parametrize("student", [FLAT, NONE])
def test_maps_need_height_and_width_in_both_networks(student):
    reason = (
        "compares feature maps and needs stages with height and width, but the student has none "
        "(H = W = 1, or no stages)"
    )
    assert spatial_maps(student, MAPS) == reason
    assert spatial_maps(MAPS, student) == reason.replace("student", "teacher")
    assert spatial_maps(MAPS, MAPS) is None


def test_maps_need_a_pair_of_stages_with_a_common_height_and_width():
    tall, wide = Shapes(((4, 8, 1),), 4, 10), Shapes(((4, 1, 8),), 4, 10)
    assert spatial_maps(tall, tall) is None
    assert spatial_maps(tall, wide).startswith("compares feature maps, but no pair of the last stages")


def test_a_batch_needs_enough_images():
    assert enough_images(Task(10, 100, (3, 8, 8), batch_size=3), 3) is None
    assert enough_images(Task(10, 100, (3, 8, 8), batch_size=2), 3).endswith("batch size of at least 3, got 2")
