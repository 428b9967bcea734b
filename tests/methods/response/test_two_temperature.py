"""Two temperatures against a plain loop."""

import math
from dataclasses import replace

import pytest
import torch

from kdbench.methods.response.two_temperature import TwoTemperature, per_sample_kd_loss
from kdbench.methods.response.vanilla import Vanilla


def softmax(row, temperature=1.0):
    exponentials = [math.exp(z / temperature) for z in row]
    return [e / sum(exponentials) for e in exponentials]


def reference(student, teacher, labels, right, wrong):
    """The mean of T_i^2 KL_i over the batch."""
    total = 0.0
    for s, t, label in zip(student, teacher, labels, strict=True):
        temperature = right if t[label] == max(t) else wrong
        pairs = zip(softmax(t, temperature), softmax(s, temperature), strict=True)
        total += temperature**2 * sum(p * math.log(p / q) for p, q in pairs)
    return total / len(labels)


@pytest.fixture
def mixed(teacher, batch):
    """The batch, with labels on which the teacher is right in five of eight images."""
    predicted = teacher.eval()(batch.images).logits.argmax(dim=1)
    return replace(batch, labels=torch.where(batch.indices < 5, predicted, (predicted + 1) % 4))


def test_terms_are_the_formula(student, teacher, mixed):
    method = TwoTemperature(student, teacher, alpha=0.7, temperature_right=2.0, temperature_wrong=9.0)
    (step,) = method.steps(mixed)
    ours, theirs = student(mixed.images).logits.tolist(), method.teacher(mixed.images).logits.tolist()
    labels = mixed.labels.tolist()
    ce = -sum(math.log(softmax(s)[label]) for s, label in zip(ours, labels, strict=True)) / len(labels)
    assert step.losses["ce"].item() == pytest.approx(0.3 * ce, rel=1e-5)
    assert step.losses["kl"].item() == pytest.approx(0.7 * reference(ours, theirs, labels, 2.0, 9.0), rel=1e-4)


def test_with_one_temperature_it_is_vanilla(student, teacher, mixed):
    both = {"temperature_right": 3.0, "temperature_wrong": 3.0}
    (step,) = TwoTemperature(student, teacher, alpha=0.7, **both).steps(mixed)
    (expected,) = Vanilla(student, teacher, alpha=0.7, temperature=3.0).steps(mixed)
    torch.testing.assert_close(step.losses["kl"], expected.losses["kl"])


def test_a_tie_counts_as_right(student, teacher, batch):
    method = TwoTemperature(student, teacher, alpha=1.0, temperature_right=2.0, temperature_wrong=20.0)
    output = student(batch.images)
    tied = replace(output, logits=torch.tensor([[1.0, 1.0, 0.0, 0.0]]).repeat(8, 1))
    labels = torch.ones(8, dtype=torch.int64)
    terms = method.losses(output, tied, replace(batch, labels=labels))
    torch.testing.assert_close(terms["kl"], per_sample_kd_loss(output.logits, tied.logits, torch.full((8,), 2.0)))
