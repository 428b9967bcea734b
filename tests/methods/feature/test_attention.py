"""Attention transfer against plain loops over images, pixels and channels."""

import math

import pytest
import torch

from kdbench.methods.feature.attention import Attention
from kdbench.training.method import Output, Shapes, Task


def unit_map(image):
    """sum_c F_c^2 of one image (C, H, W), as a list of unit length."""
    channels = len(image)
    rows = [
        [sum(image[c][h][w] ** 2 for c in range(channels)) for w in range(len(image[0][0]))]
        for h in range(len(image[0]))
    ]
    flat = [value for row in rows for value in row]
    length = math.sqrt(sum(value * value for value in flat))
    return [value / length for value in flat]


def squares(ours, theirs):
    """Per image, the squared differences of the two maps."""
    pairs = zip(ours.tolist(), theirs.tolist(), strict=True)
    return [[(a - b) ** 2 for a, b in zip(unit_map(s), unit_map(t), strict=True)] for s, t in pairs]


def official(stages):
    total = 0.0
    for ours, theirs in stages:
        found = squares(ours, theirs)
        total += sum(sum(row) for row in found) / (len(found) * len(found[0]))
    return total


def paper(stages):
    total = 0.0
    for ours, theirs in stages:
        found = squares(ours, theirs)
        total += sum(math.sqrt(sum(row)) for row in found) / len(found) / 2
    return total


@pytest.mark.parametrize(("variant", "reference"), [("official", official), ("paper", paper)])
def test_term_is_the_formula(student, teacher, batch, variant, reference):
    method = Attention(student, teacher, weight=7.0, variant=variant)
    (step,) = method.steps(batch)
    stages = list(zip(student(batch.images).stages, method.teacher(batch.images).stages, strict=True))
    assert len(stages) == 3
    assert step.losses["attention"].item() == pytest.approx(7 * reference(stages), rel=1e-4)
    torch.testing.assert_close(
        step.losses["ce"], torch.nn.functional.cross_entropy(student(batch.images).logits, batch.labels)
    )


def test_the_last_stages_are_compared_and_the_larger_is_pooled(student, teacher, batch):
    shallow, small = torch.rand(2, 3, 8, 8), torch.rand(2, 5, 2, 2)
    large = torch.rand(2, 4, 4, 4)
    ours = Output(torch.zeros(2, 4), (large,), (), torch.zeros(2, 1))
    theirs = Output(torch.zeros(2, 4), (shallow, small), (), torch.zeros(2, 1))
    batch = type(batch)(batch.images[:2], batch.labels[:2], batch.indices[:2], 0.0)
    pooled = large.unfold(2, 2, 2).unfold(3, 2, 2).mean(dim=(4, 5))
    found = Attention(student, teacher, weight=1.0).losses(ours, theirs, batch)
    assert found["attention"].item() == pytest.approx(official([(pooled, small)]), rel=1e-4)


@pytest.mark.parametrize("variant", ["official", "paper"])
def test_the_gradient_is_finite_where_the_maps_are_equal(student, tiny, batch, variant):
    student.eval()
    (step,) = Attention(student, tiny(1), variant=variant).steps(batch)
    gradients = torch.autograd.grad(sum(step.losses.values()), list(student.parameters()))
    assert step.losses["attention"].item() == pytest.approx(0.0, abs=1e-6)
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_networks_without_height_and_width_are_incompatible():
    maps, flat = Shapes(((4, 8, 8),), 4, 10), Shapes(((4, 1, 1),), 4, 10)
    task = Task(10, 100, (3, 8, 8))
    assert Attention.incompatible(maps, maps, task) is None
    assert "the student has none (H = W = 1" in Attention.incompatible(flat, maps, task)
    assert "the teacher has none (H = W = 1" in Attention.incompatible(maps, flat, task)


def test_stages_whose_common_size_is_one_pixel_are_incompatible():
    early, late = Shapes(((4, 8, 8), (4, 1, 1)), 4, 10), Shapes(((4, 8, 8),), 4, 10)
    assert "no pair of the last stages" in Attention.incompatible(early, late, Task(10, 100, (3, 8, 8)))
