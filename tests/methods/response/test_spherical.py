"""Logits of one length against plain loops."""

import math
import statistics

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kdbench.errors import MethodError
from kdbench.methods import create
from kdbench.methods.response.spherical import Spherical, on_sphere


def softmax(row, temperature=1.0):
    exponentials = [math.exp(z / temperature) for z in row]
    return [e / sum(exponentials) for e in exponentials]


def normalized(student, teacher, mode):
    """Both by the definition: (z - center) / scale, times the mean scale of the teacher."""

    def scale(row):
        return statistics.stdev(row) if mode == "standardize" else math.sqrt(sum(z * z for z in row))

    def each(rows, mean):
        centers = [statistics.mean(row) if mode == "standardize" else 0.0 for row in rows]
        return [[mean * (z - c) / scale(row) for z in row] for row, c in zip(rows, centers, strict=True)]

    mean = statistics.mean(scale(row) for row in teacher)
    return each(student, mean), each(teacher, mean)


@pytest.mark.parametrize("mode", ["l2", "standardize"])
def test_terms_are_the_formula(student, teacher, batch, mode):
    method = Spherical(student, teacher, alpha=0.7, temperature=3.0, normalize=mode)
    (step,) = method.steps(batch)
    logits = student(batch.images).logits.tolist(), method.teacher(batch.images).logits.tolist()
    ce = kl = 0.0
    for s, t, label in zip(*normalized(*logits, mode), batch.labels.tolist(), strict=True):
        ce -= math.log(softmax(s)[label]) / 8
        kl += sum(p * math.log(p / q) for p, q in zip(softmax(t, 3.0), softmax(s, 3.0), strict=True)) / 8
    assert step.losses["ce"].item() == pytest.approx(0.3 * ce, rel=1e-5)
    assert step.losses["kl"].item() == pytest.approx(0.7 * 9 * kl, rel=1e-4)


@given(factor=st.floats(0.1, 10), shift=st.floats(-5, 5), mode=st.sampled_from(["l2", "standardize"]))
def test_the_scale_of_the_student_does_not_matter(factor, shift, mode):
    student, teacher = torch.randn(2, 6, 5, generator=torch.Generator().manual_seed(0))
    offset = shift if mode == "standardize" else 0.0
    expected, _ = on_sphere(student, teacher, mode)
    found, _ = on_sphere(factor * student + offset, teacher, mode)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("mode", ["l2", "standardize"])
def test_logits_of_zero_stay_zero_with_a_finite_gradient(mode):
    student, teacher = torch.zeros(2, 3, requires_grad=True), torch.tensor([[1.0, 2.0, 4.0], [0.0, 0.0, 0.0]])
    ours, theirs = on_sphere(student, teacher, mode)
    assert ours.tolist() == torch.zeros(2, 3).tolist()
    assert theirs[1].tolist() == [0.0, 0.0, 0.0]
    (gradient,) = torch.autograd.grad(ours[:, 0].sum(), student)
    assert gradient.isfinite().all()


def test_no_gradient_runs_through_the_length():
    student, teacher = torch.ones(1, 2), torch.tensor([[3.0, 4.0]], requires_grad=True)
    ours, theirs = on_sphere(student, teacher, "l2")
    assert not ours.requires_grad
    (gradient,) = torch.autograd.grad((theirs * teacher.detach()).sum(), teacher)
    torch.testing.assert_close(gradient, torch.zeros(1, 2))


def test_it_cannot_be_a_part_of_a_sum(student, teacher):
    with pytest.raises(MethodError, match="'spherical' cannot be a part of a sum: its cross-entropy is on normalized"):
        create(["vanilla", "spherical"], student=student, teacher=teacher)
