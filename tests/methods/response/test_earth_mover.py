"""Moved probabilities against the plain loop of the definition."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kdbench.methods.response.earth_mover import EarthMover, correct_targets

MASSES = ("added", "moved")


def reference(row, label, mass):
    """One class after the other, until the label is as high as every other entry."""
    q = list(row)
    if row[label] == max(row):
        return q
    others = sorted((k for k in range(len(row)) if k != label), key=lambda k: (row[k], k))
    for k in others:
        q[label] += row[k]
        if mass == "moved":
            q[k] = 0.0
        if all(q[label] >= q[other] for other in others):
            break
    return q


@pytest.mark.parametrize(
    ("row", "label", "mass", "expected"),
    [
        ((0.5, 0.25, 0.125, 0.125), 0, "moved", (0.5, 0.25, 0.125, 0.125)),
        ((0.5, 0.25, 0.125, 0.125), 1, "added", (0.5, 0.5, 0.125, 0.125)),
        ((0.5, 0.25, 0.125, 0.125), 1, "moved", (0.5, 0.5, 0.0, 0.0)),
        ((0.4375, 0.25, 0.25, 0.0625), 3, "moved", (0.4375, 0.0, 0.0, 0.5625)),
        ((0.375, 0.25, 0.25, 0.125), 3, "moved", (0.375, 0.0, 0.25, 0.375)),
        ((0.75, 0.125, 0.125, 0.0), 3, "added", (0.75, 0.125, 0.125, 1.0)),
        ((0.75, 0.125, 0.125, 0.0), 3, "moved", (0.0, 0.0, 0.0, 1.0)),
    ],
)
def test_worked_examples(row, label, mass, expected):
    assert correct_targets(torch.tensor([row]), torch.tensor([label]), mass).tolist() == [list(expected)]


@st.composite
def rows_and_labels(draw):
    """Sixteenths: sums are exact, ties and zeros are frequent."""
    classes, size = draw(st.integers(2, 7)), draw(st.integers(1, 5))
    sixteenths = st.integers(0, 16).map(lambda n: n / 16)
    rows = draw(st.lists(st.lists(sixteenths, min_size=classes, max_size=classes), min_size=size, max_size=size))
    return rows, draw(st.lists(st.integers(0, classes - 1), min_size=size, max_size=size))


@given(sample=rows_and_labels(), mass=st.sampled_from(MASSES))
def test_batches_follow_the_plain_loop(sample, mass):
    rows, labels = sample
    found = correct_targets(torch.tensor(rows), torch.tensor(labels), mass)
    assert found.tolist() == [reference(row, label, mass) for row, label in zip(rows, labels, strict=True)]


@given(sample=rows_and_labels())
def test_moving_keeps_the_mass_and_makes_the_label_highest(sample):
    rows, labels = torch.tensor(sample[0]), torch.tensor(sample[1])
    found = correct_targets(rows, labels, "moved")
    assert found.sum(dim=1).tolist() == rows.sum(dim=1).tolist()
    assert (found.gather(1, labels[:, None]) == found.max(dim=1, keepdim=True).values).all()


@pytest.mark.parametrize("mass", MASSES)
def test_terms_are_the_formula(student, teacher, batch, mass):
    method = EarthMover(student, teacher, alpha=0.4, temperature=0.5, mass=mass)
    (step,) = method.steps(batch)
    ours, theirs = student(batch.images).logits.tolist(), method.teacher(batch.images).logits.tolist()
    ce = emd = 0.0
    for s, t, label in zip(ours, theirs, batch.labels.tolist(), strict=True):
        ce -= math.log(math.exp(s[label]) / sum(math.exp(z) for z in s)) / 8
        target = reference([math.exp(2 * z) / sum(math.exp(2 * w) for w in t) for z in t], label, mass)
        for q, z in zip(target, s, strict=True):
            log_p = 2 * z - math.log(sum(math.exp(2 * w) for w in s))
            emd += (q * (math.log(q) - log_p) if q else 0.0) / 8
    assert step.losses["ce"].item() == pytest.approx(0.6 * ce, rel=1e-5)
    assert step.losses["emd"].item() == pytest.approx(0.4 * 0.25 * emd, rel=1e-4)
    assert step.losses["emd"].requires_grad
