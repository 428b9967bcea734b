"""Vanilla distillation against plain loops."""

import math

import pytest
import torch

from kdbench.methods.response.vanilla import Vanilla


def softmax(row, temperature=1.0):
    exponentials = [math.exp(z / temperature) for z in row]
    return [e / sum(exponentials) for e in exponentials]


def test_terms_are_the_formula(student, teacher, batch):
    method = Vanilla(student, teacher, alpha=0.7, temperature=3.0)
    (step,) = method.steps(batch)
    ours, theirs = student(batch.images).logits.tolist(), method.teacher(batch.images).logits.tolist()
    ce = kl = 0.0
    for s, t, label in zip(ours, theirs, batch.labels.tolist(), strict=True):
        ce -= math.log(softmax(s)[label]) / len(ours)
        kl += sum(p * math.log(p / q) for p, q in zip(softmax(t, 3.0), softmax(s, 3.0), strict=True)) / len(ours)
    assert step.losses["ce"].item() == pytest.approx(0.3 * ce, rel=1e-5)
    assert step.losses["kl"].item() == pytest.approx(0.7 * 9 * kl, rel=1e-4)


def test_gradient_is_that_of_hinton(student, teacher, batch):
    """dL / dz_s = alpha T (p_s - p_t) / B + (1 - alpha) (softmax(z_s) - y) / B."""
    method = Vanilla(student, teacher, alpha=0.7, temperature=3.0)
    output, target = student(batch.images), method.teacher(batch.images)
    terms = method.losses(output, target, batch)
    (gradient,) = torch.autograd.grad(sum(terms.values()), output.logits)
    soft = torch.softmax(output.logits / 3, 1) - torch.softmax(target.logits / 3, 1)
    hard = torch.softmax(output.logits, 1) - torch.nn.functional.one_hot(batch.labels, 4)
    torch.testing.assert_close(gradient, (0.7 * 3 * soft + 0.3 * hard) / len(batch.labels))
