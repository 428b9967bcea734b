"""Relative logits against the plain loop of the definition, one class after the other."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kdbench.errors import MethodError
from kdbench.methods.response.relative_kd import RelativeV1, RelativeV2, RelativeV3, RelativeV4, relative_logits

VERSIONS = (RelativeV1, RelativeV2, RelativeV3, RelativeV4)


def others(row, k):
    """All indices but k, by ascending value; of equal values the lower index first."""
    return sorted((index for index in range(len(row)) if index != k), key=lambda index: (row[index], index))


def lower(row, k, erase=False):
    """Subtract one by one; the first that would push z_k below the second-highest is undone, and that ends it."""
    result, value, second = list(row), row[k], max(row[index] for index in others(row, k))
    for index in others(row, k):
        if value - abs(row[index]) < second:
            break
        value -= abs(row[index])
        if erase:
            result[index] = 0.0
    result[k] = value
    return result


def lift(row, k, erase=False):
    """Add one by one until z_k is above the prediction, or all are used."""
    result, value = list(row), row[k]
    for index in others(row, k):
        if value > max(row):
            break
        value += abs(row[index])
        if erase:
            result[index] = 0.0
    result[k] = value
    return result


def reference(row, label, version):
    if version == 4:
        return lower(row, row.index(max(row)))
    if row[label] == max(row):
        return lower(row, label, erase=version == 3)
    if version == 1:
        return [0.0] * len(row)
    return lift(row, label, erase=version == 3)


@pytest.mark.parametrize(
    ("label", "version", "expected"),
    [
        (0, 1, (1.5, 1, -2, 0.5)),
        (0, 2, (1.5, 1, -2, 0.5)),
        (0, 3, (1.5, 0, 0, 0)),
        (0, 4, (1.5, 1, -2, 0.5)),
        (3, 1, (0, 0, 0, 0)),
        (3, 2, (5, 1, -2, 8.5)),
        (3, 3, (0, 0, 0, 8.5)),
        (3, 4, (1.5, 1, -2, 0.5)),
    ],
)
def test_worked_examples(label, version, expected):
    found = relative_logits(torch.tensor([[5, 1, -2, 0.5]]), torch.tensor([label]), version)
    assert found.tolist() == [list(expected)]


@st.composite
def logits_and_labels(draw):
    """Quarters in a small range: sums are exact, ties and zeros are frequent."""
    classes, size = draw(st.integers(2, 7)), draw(st.integers(1, 5))
    quarters = st.integers(-16, 16).map(lambda n: n / 4)
    rows = draw(st.lists(st.lists(quarters, min_size=classes, max_size=classes), min_size=size, max_size=size))
    return rows, draw(st.lists(st.integers(0, classes - 1), min_size=size, max_size=size))


@given(sample=logits_and_labels(), version=st.sampled_from([1, 2, 3, 4]))
def test_batches_follow_the_plain_loop(sample, version):
    rows, labels = sample
    found = relative_logits(torch.tensor(rows), torch.tensor(labels), version)
    assert found.tolist() == [reference(row, label, version) for row, label in zip(rows, labels, strict=True)]


@given(sample=logits_and_labels())
def test_a_lowered_class_stays_among_the_highest(sample):
    rows, labels = sample
    logits = torch.tensor(rows)
    predicted = logits.argmax(dim=1, keepdim=True)
    found = relative_logits(logits, torch.tensor(labels), 4)
    assert (found.gather(1, predicted) == found.max(dim=1, keepdim=True).values).all()


def test_a_tie_counts_as_right():
    found = relative_logits(torch.tensor([[3.0, 3.0, 0.0]]), torch.tensor([1]), 1)
    assert found.tolist() == [[3.0, 3.0, 0.0]]


def test_of_equal_others_the_lower_index_is_used_first():
    found = relative_logits(torch.tensor([[1.0, 1.0, 2.5]]), torch.tensor([2]), 3)
    assert found.tolist() == [[0.0, 1.0, 1.5]]


def test_the_teacher_s_logits_are_not_modified():
    logits = torch.tensor([[5, 1, -2, 0.5]])
    relative_logits(logits, torch.tensor([3]), 3)
    assert logits.tolist() == [[5, 1, -2, 0.5]]


def test_an_unknown_version_is_refused():
    with pytest.raises(MethodError, match="must be 1, 2, 3 or 4, got 5"):
        relative_logits(torch.zeros(1, 2), torch.zeros(1, dtype=torch.int64), 5)


@pytest.mark.parametrize(("version", "method"), list(enumerate(VERSIONS, start=1)))
def test_terms_are_vanilla_on_the_adjusted_logits(student, teacher, batch, version, method):
    built = method(student, teacher, alpha=0.4, temperature=2.0)
    (step,) = built.steps(batch)
    ours, theirs = student(batch.images).logits.tolist(), built.teacher(batch.images).logits.tolist()
    ce = kl = 0.0
    for s, t, label in zip(ours, theirs, batch.labels.tolist(), strict=True):
        adjusted = reference(t, label, version)
        normalizer, soft = sum(math.exp(z / 2) for z in adjusted), sum(math.exp(z / 2) for z in s)
        ce -= math.log(math.exp(s[label]) / sum(math.exp(z) for z in s)) / len(ours)
        for target, z in zip(adjusted, s, strict=True):
            p = math.exp(target / 2) / normalizer
            kl += p * math.log(p * soft / math.exp(z / 2)) / len(ours)
    assert step.losses["ce"].item() == pytest.approx(0.6 * ce, rel=1e-5)
    assert step.losses["kl"].item() == pytest.approx(0.4 * 4 * kl, rel=1e-4)
