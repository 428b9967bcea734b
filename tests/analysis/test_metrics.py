"""Metrics against scikit-learn."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import (
    accuracy_score,
    f1_score,
    log_loss,
    precision_score,
    recall_score,
    top_k_accuracy_score,
)

from kdbench.analysis.metrics import calibration_error, metrics, top


@st.composite
def answers(draw, scales=(0.1, 1.0, 20.0)):
    """Logits (N, K) without ties, and labels (N,); classes may be missing on either side."""
    count, classes = draw(st.integers(1, 30)), draw(st.integers(2, 9))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    scale = draw(st.sampled_from(scales))
    labels = np.array(draw(st.lists(st.integers(0, classes - 1), min_size=count, max_size=count)))
    return scale * random.standard_normal((count, classes)), labels


def softmax(logits):
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


@given(answers())
def test_classification_agrees_with_scikit_learn(answer):
    logits, labels = answer
    predicted, found = logits.argmax(axis=1), metrics(logits, labels)
    assert found["accuracy"] == pytest.approx(accuracy_score(labels, predicted))
    for name, score in {"f1": f1_score, "precision": precision_score, "recall": recall_score}.items():
        expected = {
            average: score(labels, predicted, average=average, zero_division=0) for average in ("macro", "weighted")
        }
        assert found[name] == pytest.approx(expected["macro"]), name
        assert found[f"{name}_weighted"] == pytest.approx(expected["weighted"]), name


@given(answers(), st.integers(1, 9))
def test_top_k_agrees_with_scikit_learn(answer, k):
    logits, labels = answer
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn finds k >= K useless
        expected = (
            top_k_accuracy_score(labels, logits, k=k, labels=range(logits.shape[1])) if logits.shape[1] > 2 else None
        )
    if expected is not None:
        assert top(logits, labels, k) == pytest.approx(expected)
    assert metrics(logits, labels)["top5"] == top(logits, labels, 5)


@given(answers(scales=(0.1, 3.0)))  # scikit-learn clips smaller probabilities
def test_nll_agrees_with_scikit_learn(answer):
    logits, labels = answer
    expected = log_loss(labels, softmax(logits), labels=range(logits.shape[1]))
    assert metrics(logits, labels)["nll"] == pytest.approx(expected, abs=1e-9)


@given(answers())
def test_calibration_agrees_with_a_plain_loop(answer):
    logits, labels = answer
    confidence, correct = softmax(logits).max(axis=1), logits.argmax(axis=1) == labels
    expected = 0.0
    for number in range(15):
        inside = [i for i, c in enumerate(confidence) if number / 15 < c <= (number + 1) / 15]
        if inside:
            gap = sum(confidence[i] for i in inside) / len(inside) - sum(map(bool, correct[inside])) / len(inside)
            expected += len(inside) / len(labels) * abs(gap)
    assert metrics(logits, labels)["ece"] == pytest.approx(expected)


def test_calibration_by_hand():
    confidence = np.array([0.95, 0.85, 0.65, 0.55])
    correct = np.array([True, False, True, True])
    assert calibration_error(confidence, correct, bins=2) == pytest.approx(abs(3.0 - 3) / 4)
    assert calibration_error(confidence, correct, bins=10) == pytest.approx((0.05 + 0.85 + 0.35 + 0.45) / 4)


def test_a_perfect_and_a_hopeless_classifier():
    labels = np.array([0, 1, 2, 0])
    right, wrong = 100.0 * np.eye(3)[labels], 100.0 * np.eye(3)[(labels + 1) % 3]
    assert metrics(right, labels) == pytest.approx(
        {name: 0.0 if name in ("nll", "ece") else 1.0 for name in metrics(right, labels)}
    )
    found = metrics(wrong, labels)
    assert (found["accuracy"], found["f1"], found["top5"]) == (0, 0, 1)
    assert (found["nll"], found["ece"]) == pytest.approx((100, 1))


def test_huge_logits_stay_finite():
    found = metrics([[1e30, -1e30], [-1e30, 1e30]], [0, 0])
    assert found["accuracy"] == 0.5
    assert found["nll"] == pytest.approx(1e30)


def test_a_tie_between_the_label_and_others_counts_for_the_label_in_top_k():
    assert top(np.zeros((3, 8)), np.array([0, 3, 7]), 1) == 1


def test_nan_logits_give_nan():
    assert math.isnan(metrics([[math.nan, 0.0]], [0])["nll"])
