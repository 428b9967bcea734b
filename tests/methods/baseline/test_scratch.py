"""Scratch: cross-entropy from the formula."""

import math

import pytest

from kdbench.methods.baseline.scratch import Scratch


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_cross_entropy_is_the_formula(student, batch, smoothing):
    (step,) = Scratch(student, label_smoothing=smoothing).steps(batch)
    expected = 0.0
    for row, label in zip(student(batch.images).logits.tolist(), batch.labels.tolist(), strict=True):
        normalizer = math.log(sum(math.exp(z) for z in row))
        for k, z in enumerate(row):
            target = (1 - smoothing) * (k == label) + smoothing / len(row)
            expected -= target * (z - normalizer) / len(batch.labels)
    assert step.player == "student"
    assert set(step.losses) == {"ce"}
    assert step.losses["ce"].item() == pytest.approx(expected, rel=1e-5)
