"""FitNets, in one stage and in two, against plain loops."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from kdbench.errors import MethodError
from kdbench.methods.feature.fitnets import FitNets
from kdbench.training.method import Shapes, Task

TASK = Task(10, 100, (3, 32, 32))


def squared_errors(method, batch, source, target):
    """Per image, the squared differences of hint and regressed map, entry by entry."""
    regressed = method.regressor(method.student(batch.images).stages[source]).flatten(1).tolist()
    hints = method.teacher(batch.images).stages[target].flatten(1).tolist()
    return [[(u - r) ** 2 for u, r in zip(*rows, strict=True)] for rows in zip(hints, regressed, strict=True)]


@pytest.mark.parametrize(("layer", "index"), [("middle", 1), ("final", 2), (0, 0)])
def test_joint_adds_the_mean_squared_error_of_the_hint(student, teacher, batch, layer, index):
    method = FitNets(student, teacher, layer=layer, weight=30.0)
    (step,) = method.steps(batch)
    errors = [e for row in squared_errors(method, batch, index, index) for e in row]
    assert set(step.losses) == {"ce", "hint"}
    assert step.losses["hint"].item() == pytest.approx(30 * sum(errors) / len(errors), rel=1e-4)
    torch.testing.assert_close(step.losses["ce"], F.cross_entropy(student(batch.images).logits, batch.labels))


def test_the_first_stage_is_half_the_squared_error_alone(student, teacher, batch):
    method = FitNets(student, teacher, mode="two_stage", share=0.5)
    (step,) = method.steps(replace(batch, progress=0.49))
    errors = squared_errors(method, batch, 1, 1)
    assert set(step.losses) == {"hint"}
    assert step.losses["hint"].item() == pytest.approx(sum(sum(row) for row in errors) / 2 / len(errors), rel=1e-4)


def test_the_hint_weight_scales_the_first_stage(student, teacher, batch):
    first = replace(batch, progress=0.0)
    torch.manual_seed(0)
    (plain,) = FitNets(student, teacher, mode="two_stage").steps(first)
    torch.manual_seed(0)
    (scaled,) = FitNets(student, teacher, mode="two_stage", hint_weight=0.01).steps(first)
    torch.testing.assert_close(scaled.losses["hint"], 0.01 * plain.losses["hint"])


def test_the_first_stage_has_no_gradient_above_the_hint(student, teacher, batch):
    method = FitNets(student, teacher, mode="two_stage")
    (step,) = method.steps(replace(batch, progress=0.0))
    behind = [*student.stages[2].parameters(), *student.head.parameters()]
    before = [*student.stem.parameters(), *student.stages[1].parameters(), *method.regressor.parameters()]
    gradients = torch.autograd.grad(step.losses["hint"], before + behind, allow_unused=True)
    assert all(g is not None for g in gradients[: len(before)])
    assert all(g is None for g in gradients[len(before) :])


@pytest.mark.parametrize(("progress", "factor"), [(0.2, 4.0), (0.6, 2.5), (1.0, 1.0)])
def test_the_second_stage_anneals_the_soft_cross_entropy(student, teacher, batch, progress, factor):
    method = FitNets(student, teacher, mode="two_stage", share=0.2)
    (step,) = method.steps(replace(batch, progress=progress))
    ours, theirs = student(batch.images).logits.tolist(), method.teacher(batch.images).logits.tolist()
    expected = 0.0
    for s, t in zip(ours, theirs, strict=True):
        soft, normalizer = sum(math.exp(z / 3) for z in s), sum(math.exp(z / 3) for z in t)
        expected -= sum(math.exp(b / 3) / normalizer * (a / 3 - math.log(soft)) for a, b in zip(s, t, strict=True))
    assert set(step.losses) == {"ce", "kd"}
    assert step.losses["kd"].item() == pytest.approx(factor * expected / len(ours), rel=1e-5)
    torch.testing.assert_close(step.losses["ce"], F.cross_entropy(student(batch.images).logits, batch.labels))


@pytest.mark.parametrize(("stages", "middle"), [(1, 0), (2, 0), (3, 1), (4, 1), (5, 2)])
def test_the_middle_is_the_earlier_one_of_two(stages, middle):
    """The reason names the stages: no regressor maps to a stage that is higher and narrower."""
    shapes = Shapes(tuple((index + 1, 32, 32) for index in range(stages)), 8, 10)
    found = FitNets.incompatible(shapes, Shapes(((1, 40, 4),), 8, 10), TASK, layer="middle")
    assert f"the student's stage (C, H, W) {(middle + 1, 32, 32)}" in found


def test_a_missing_layer_is_incompatible():
    shapes = Shapes(((4, 8, 8), (8, 4, 4)), 8, 10)
    assert FitNets.incompatible(shapes, shapes, TASK, layer=1) is None
    assert FitNets.incompatible(shapes, shapes, TASK, layer=2) == (
        "reads stage 2, but the student's stages with height and width are [0, 1]"
    )


def test_networks_without_height_and_width_are_incompatible(flat, teacher):
    one, maps = Shapes(((4, 1, 1),), 4, 10), Shapes(((4, 8, 8),), 4, 10)
    assert "the student has none (an MLP's stages have H = W = 1)" in FitNets.incompatible(one, maps, TASK)
    assert "the teacher has none" in FitNets.incompatible(maps, one, TASK)
    with pytest.raises(MethodError, match="fitnets needs a stage with height and width, but the student has none"):
        FitNets(flat, teacher)


def test_other_classes_matter_to_the_second_stage_only():
    ten, five = Shapes(((4, 8, 8),), 4, 10), Shapes(((4, 8, 8),), 4, 5)
    assert FitNets.incompatible(ten, five, TASK, mode="joint") is None
    assert "the teacher has 5 classes and the student 10" in FitNets.incompatible(ten, five, TASK, mode="two_stage")


def test_only_the_joint_mode_can_be_summed():
    assert FitNets.not_summable(mode="joint") is None
    assert "trains without cross-entropy at first" in FitNets.not_summable(mode="two_stage")
