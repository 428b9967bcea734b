"""Logit matching against a plain loop."""

import pytest
import torch

from kdbench.methods.response.logit_mse import LogitMSE


def test_term_is_half_the_squared_distance_of_the_logits(student, teacher, batch):
    method = LogitMSE(student, teacher, weight=0.4)
    (step,) = method.steps(batch)
    ours, theirs = student(batch.images).logits.tolist(), method.teacher(batch.images).logits.tolist()
    distances = [sum((s - t) ** 2 for s, t in zip(*rows, strict=True)) for rows in zip(ours, theirs, strict=True)]
    assert step.losses["mse"].item() == pytest.approx(0.4 * sum(distances) / 2 / len(distances), rel=1e-5)


def test_cross_entropy_keeps_weight_one(student, teacher, batch):
    (step,) = LogitMSE(student, teacher, weight=0.4).steps(batch)
    log_probabilities = student(batch.images).logits.log_softmax(dim=1)
    expected = -log_probabilities[torch.arange(8), batch.labels].mean()
    torch.testing.assert_close(step.losses["ce"], expected)
