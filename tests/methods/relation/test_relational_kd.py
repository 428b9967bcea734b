"""Relational distillation against plain loops over pairs and triples of images."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kdbench.methods.relation import geometry
from kdbench.methods.relation.geometry import angle_loss, distance_loss
from kdbench.methods.relation.relational_kd import RelationalAngle, RelationalDistance, RelationalDistanceAngle
from kdbench.training.method import Shapes, Task


def huber(a, b):
    difference = abs(a - b)
    return difference**2 / 2 if difference < 1 else difference - 0.5


def relative_distances(rows):
    distances = [[math.dist(a, b) for b in rows] for a in rows]
    positive = [d for row in distances for d in row if d > 0]
    return [d / (sum(positive) / len(positive)) for row in distances for d in row]


def cosines(rows):
    """<e_ij, e_kj> for every j, i, k; e is 0 between an image and itself."""
    found = []
    for corner in rows:
        sides = [[a - b for a, b in zip(row, corner, strict=True)] for row in rows]
        lengths = [math.hypot(*side) or 1.0 for side in sides]
        units = [[x / length for x in side] for side, length in zip(sides, lengths, strict=True)]
        found += [sum(a * b for a, b in zip(one, other, strict=True)) for one in units for other in units]
    return found


def mean_huber(relations, student, teacher):
    pairs = list(zip(relations(student.tolist()), relations(teacher.tolist()), strict=True))
    return sum(huber(a, b) for a, b in pairs) / len(pairs)


def embeddings(seed, size):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(size, 5, generator=generator), 3 * torch.randn(size, 7, generator=generator) + 2


@given(seed=st.integers(0, 10_000), size=st.integers(3, 9))
def test_losses_are_the_formulas(seed, size):
    student, teacher = embeddings(seed, size)
    assert distance_loss(student, teacher).item() == pytest.approx(
        mean_huber(relative_distances, student, teacher), rel=1e-3, abs=1e-6
    )
    assert angle_loss(student, teacher).item() == pytest.approx(
        mean_huber(cosines, student, teacher), rel=1e-3, abs=1e-6
    )


@pytest.mark.parametrize(
    ("loss", "relations"), [(distance_loss, relative_distances), (angle_loss, cosines)], ids=["distance", "angle"]
)
def test_gradients_are_those_of_the_formulas(loss, relations):
    """Finite differences of the plain loop: the student's mean distance is part of the gradient."""
    student, teacher = embeddings(1, 4)
    (gradient,) = torch.autograd.grad(loss(student.requires_grad_(), teacher), student)
    for index in [(0, 0), (1, 3), (3, 4)]:
        moved = torch.zeros(4, 5, dtype=torch.float64)
        moved[index] = 1e-5
        above = mean_huber(relations, student.detach().double() + moved, teacher.double())
        below = mean_huber(relations, student.detach().double() - moved, teacher.double())
        assert gradient[index].item() == pytest.approx((above - below) / 2e-5, rel=1e-2, abs=1e-5)


def test_chunks_give_the_same_angles_and_gradients(monkeypatch):
    student, teacher = embeddings(2, 11)
    student.requires_grad_()
    at_once = angle_loss(student, teacher)
    (expected,) = torch.autograd.grad(at_once, student)
    monkeypatch.setattr(geometry, "MAX_BATCH_AT_ONCE", 6)
    chunked = angle_loss(student, teacher)
    (found,) = torch.autograd.grad(chunked, student)
    torch.testing.assert_close(chunked, at_once)
    torch.testing.assert_close(found, expected)


def test_chunks_read_no_random_state(monkeypatch):
    """Random states cannot be read while a CUDA graph is captured."""
    student, teacher = embeddings(2, 11)
    monkeypatch.setattr(geometry, "MAX_BATCH_AT_ONCE", 6)
    monkeypatch.setattr(torch, "get_rng_state", lambda: pytest.fail("the state is read"))
    loss = angle_loss(student.requires_grad_(), teacher)
    assert torch.autograd.grad(loss, student)[0].isfinite().all()


def test_a_large_common_offset_does_not_cancel_the_distances():
    student, teacher = embeddings(3, 6)
    torch.testing.assert_close(
        angle_loss(student + 100, teacher - 100), angle_loss(student, teacher), rtol=1e-3, atol=1e-5
    )
    torch.testing.assert_close(
        distance_loss(student + 100, teacher - 100), distance_loss(student, teacher), rtol=1e-3, atol=1e-5
    )


@pytest.mark.parametrize("loss", [distance_loss, angle_loss])
def test_equal_embeddings_have_finite_gradients(loss):
    student, teacher = embeddings(4, 5)
    student[1] = student[0]
    collapsed = torch.zeros(5, 3)
    for found in (student.requires_grad_(), collapsed.requires_grad_()):
        value = loss(found, teacher)
        (gradient,) = torch.autograd.grad(value, found)
        assert value.isfinite()
        assert gradient.isfinite().all()


@pytest.mark.parametrize("scale", [0.01, 1, 100])
def test_two_images_with_the_same_embedding_have_no_direction_and_a_finite_gradient(scale):
    student, teacher = embeddings(6, 8)
    student = scale * (student + 3)
    student[1] = student[0]
    loss = angle_loss(student.requires_grad_(), teacher)
    (gradient,) = torch.autograd.grad(loss, student)
    assert loss.item() == pytest.approx(mean_huber(cosines, student, teacher), rel=1e-3)
    assert gradient[:2].norm() < 10 * gradient[2:].norm()


@given(seed=st.integers(0, 10_000), scale=st.floats(0.1, 10))
def test_relations_do_not_depend_on_scale_and_offset(seed, scale):
    student, teacher = embeddings(seed, 5)
    moved = scale * student + 1
    torch.testing.assert_close(distance_loss(moved, teacher), distance_loss(student, teacher), rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(angle_loss(moved, teacher), angle_loss(student, teacher), rtol=1e-3, atol=1e-5)


def test_losses_are_computed_in_float32_under_autocast():
    student, teacher = embeddings(5, 6)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = angle_loss(student, teacher)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, angle_loss(student, teacher))


@pytest.mark.parametrize(
    ("method", "configurations", "weights"),
    [
        (RelationalDistance, {}, {"distance": 25}),
        (RelationalAngle, {}, {"angle": 50}),
        (RelationalDistanceAngle, {}, {"distance": 25, "angle": 50}),
        (RelationalDistanceAngle, {"distance_weight": 2.0, "angle_weight": 3.0}, {"distance": 2, "angle": 3}),
    ],
)
def test_terms_are_weighted_and_on_the_embeddings(student, teacher, batch, method, configurations, weights):
    built = method(student, teacher, **configurations)
    (step,) = built.steps(batch)
    ours, theirs = student(batch.images).embedding, built.teacher(batch.images).embedding
    relations = {"distance": relative_distances, "angle": cosines}
    assert set(step.losses) == {"ce", *weights}
    for term, weight in weights.items():
        expected = weight * mean_huber(relations[term], ours, theirs)
        assert step.losses[term].item() == pytest.approx(expected, rel=1e-3)
    torch.testing.assert_close(
        step.losses["ce"], torch.nn.functional.cross_entropy(student(batch.images).logits, batch.labels)
    )


@pytest.mark.parametrize("method", [RelationalDistance, RelationalAngle, RelationalDistanceAngle])
def test_batches_of_two_are_incompatible(method):
    shapes = Shapes((), 8, 10)
    reason = "compares the images of a batch and needs a batch size of at least 3, got 2"
    assert method.incompatible(shapes, shapes, Task(10, 100, (3, 8, 8), batch_size=2)) == reason
    assert method.incompatible(shapes, shapes, Task(10, 100, (3, 8, 8), batch_size=3)) is None
