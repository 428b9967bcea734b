"""The nuclear norm against the singular values of a matrix known by hand, and of numpy."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from kdbench.errors import MethodError
from kdbench.methods.response.nuclear_norm import NuclearNorm, first_weights, nuclear_norm
from kdbench.methods.response.vanilla import Vanilla


def test_a_norm_computed_by_hand():
    """[[3, 0], [4, 5]] has singular values sqrt(45) and sqrt(5)."""
    assert nuclear_norm(torch.tensor([[3.0, 0.0], [4.0, 5.0]])).item() == pytest.approx(math.sqrt(45) + math.sqrt(5))


def test_equal_singular_values_and_zeros_have_a_finite_gradient():
    """At c I the gradient is I; at 0 every singular value is one corner of the norm."""
    matrix = (2 * torch.eye(3)).requires_grad_()
    (gradient,) = torch.autograd.grad(nuclear_norm(matrix), matrix)
    torch.testing.assert_close(gradient, torch.eye(3))
    zero = torch.zeros(2, 3, requires_grad=True)
    (gradient,) = torch.autograd.grad(nuclear_norm(zero), zero)
    assert gradient.isfinite().all()


def test_terms_are_vanilla_and_the_norm(student, teacher, batch):
    method = NuclearNorm(student, teacher, alpha=0.7, temperature=3.0, beta=0.2)
    (step,) = method.steps(batch)
    (plain,) = Vanilla(student, teacher, alpha=0.7, temperature=3.0).steps(batch)
    kernel = student.stem.weight.detach().numpy().reshape(4, 3 * 3 * 3)
    eigenvalues = np.linalg.eigvalsh(kernel.astype(np.float64) @ kernel.T)
    assert step.losses["nuclear"].item() == pytest.approx(0.2 * sum(math.sqrt(e) for e in eigenvalues), rel=1e-5)
    torch.testing.assert_close([step.losses[term] for term in ("ce", "kl")], [plain.losses[t] for t in ("ce", "kl")])


def test_without_beta_alpha_weighs_the_norm(student, teacher, batch):
    (given,) = NuclearNorm(student, teacher, alpha=0.4, beta=0.4).steps(batch)
    (left,) = NuclearNorm(student, teacher, alpha=0.4).steps(batch)
    assert left.losses["nuclear"].item() == given.losses["nuclear"].item() > 0


def test_a_beta_of_zero_is_no_penalty(student, teacher, batch):
    (step,) = NuclearNorm(student, teacher, alpha=0.4, beta=0.0).steps(batch)
    assert step.losses["nuclear"].item() == 0


def test_the_norm_moves_the_first_layer_alone(student, teacher, batch):
    (step,) = NuclearNorm(student, teacher).steps(batch)
    names, parameters = zip(*student.named_parameters(), strict=True)
    gradients = torch.autograd.grad(step.losses["nuclear"], parameters, allow_unused=True)
    assert [name for name, g in zip(names, gradients, strict=True) if g is not None] == ["stem.weight"]


def test_the_first_layer_is_the_first_that_is_registered(flat):
    assert first_weights(flat).tolist() == flat.hidden.weight.tolist()
    nested = nn.Sequential(nn.Flatten(), nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 2)), nn.Linear(2, 5))
    assert first_weights(nested).tolist() == nested[1][1].weight.tolist()


def test_a_student_without_a_layer_is_refused(teacher):
    with pytest.raises(MethodError, match=r"needs a student with an nn\.Conv2d or nn\.Linear, got ReLU"):
        NuclearNorm(nn.ReLU(), teacher)
