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

from kdbench.analysis.metrics import (
    classification_metrics,
    expected_calibration_error,
    predicted_classes,
    top_k_accuracy,
)


@st.composite
def predictions(draw, scales=(0.1, 1.0, 20.0)):
    """Logits (N, K) without ties, and labels (N,); classes may be missing on either side."""
    count, classes = draw(st.integers(1, 30)), draw(st.integers(2, 9))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    scale = draw(st.sampled_from(scales))
    labels = np.array(draw(st.lists(st.integers(0, classes - 1), min_size=count, max_size=count)))
    return scale * random.standard_normal((count, classes)), labels


def softmax(logits):
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


@given(predictions())
def test_classification_agrees_with_scikit_learn(drawn):
    logits, labels = drawn
    predicted, found = logits.argmax(axis=1), classification_metrics(logits, labels)
    assert found["accuracy"] == pytest.approx(accuracy_score(labels, predicted))
    for name, score in {"f1": f1_score, "precision": precision_score, "recall": recall_score}.items():
        expected = {
            average: score(labels, predicted, average=average, zero_division=0) for average in ("macro", "weighted")
        }
        assert found[name] == pytest.approx(expected["macro"]), name
        assert found[f"{name}_weighted"] == pytest.approx(expected["weighted"]), name


@given(predictions(), st.integers(1, 9))
def test_top_k_agrees_with_scikit_learn(drawn, k):
    logits, labels = drawn
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn warns if k >= K
        expected = (
            top_k_accuracy_score(labels, logits, k=k, labels=range(logits.shape[1])) if logits.shape[1] > 2 else None
        )
    if expected is not None:
        assert top_k_accuracy(logits, labels, k) == pytest.approx(expected)
    assert classification_metrics(logits, labels)["top5"] == top_k_accuracy(logits, labels, 5)


@given(predictions(scales=(0.1, 3.0)))  # scikit-learn clips smaller probabilities
def test_nll_agrees_with_scikit_learn(drawn):
    logits, labels = drawn
    expected = log_loss(labels, softmax(logits), labels=range(logits.shape[1]))
    assert classification_metrics(logits, labels)["nll"] == pytest.approx(expected, abs=1e-9)


@given(predictions())
def test_calibration_agrees_with_a_plain_loop(drawn):
    logits, labels = drawn
    confidence, correct = softmax(logits).max(axis=1), logits.argmax(axis=1) == labels
    expected = 0.0
    for number in range(15):
        inside = [i for i, c in enumerate(confidence) if number / 15 < c <= (number + 1) / 15]
        if inside:
            gap = sum(confidence[i] for i in inside) / len(inside) - sum(map(bool, correct[inside])) / len(inside)
            expected += len(inside) / len(labels) * abs(gap)
    assert classification_metrics(logits, labels)["ece"] == pytest.approx(expected)


def test_calibration_by_hand():
    confidence = np.array([0.95, 0.85, 0.65, 0.55])
    correct = np.array([True, False, True, True])
    assert expected_calibration_error(confidence, correct, bins=2) == pytest.approx(abs(3.0 - 3) / 4)
    assert expected_calibration_error(confidence, correct, bins=10) == pytest.approx((0.05 + 0.85 + 0.35 + 0.45) / 4)


def test_a_classifier_that_is_always_right_and_one_that_is_always_wrong():
    labels = np.array([0, 1, 2, 0])
    right, wrong = 100.0 * np.eye(3)[labels], 100.0 * np.eye(3)[(labels + 1) % 3]
    assert classification_metrics(right, labels) == pytest.approx(
        {name: 0.0 if name in ("nll", "ece") else 1.0 for name in classification_metrics(right, labels)}
    )
    found = classification_metrics(wrong, labels)
    assert (found["accuracy"], found["f1"], found["top5"]) == (0, 0, 1)
    assert (found["nll"], found["ece"]) == pytest.approx((100, 1))


def test_huge_logits_stay_finite():
    found = classification_metrics([[1e30, -1e30], [-1e30, 1e30]], [0, 0])
    assert found["accuracy"] == 0.5
    assert found["nll"] == pytest.approx(1e30)


@pytest.mark.parametrize("classes", [6, 10, 100])
def test_a_collapsed_network_has_no_predictions_and_a_top5_of_5_classes(classes):
    labels = np.repeat(np.arange(classes), 3)
    found = classification_metrics(np.full((len(labels), classes), 0.25), labels)
    assert found["top5"] == pytest.approx(5 / classes)
    assert {found[name] for name in ("accuracy", "f1", "precision", "recall", "f1_weighted")} == {0.0}
    assert found["ece"] == pytest.approx(1 / classes)


def test_top_k_ranks_ties_by_class():
    scores = np.array([[1.0, 1.0, 2.0, 1.0]] * 4)
    assert [top_k_accuracy(scores, np.arange(4), k) for k in (1, 2, 3, 4)] == [0.25, 0.5, 0.75, 1.0]


def test_a_tie_for_the_highest_logit_is_a_miss_and_another_tie_is_not():
    logits = [[2.0, 2.0, 1.0], [2.0, 1.0, 1.0], [1.0, 2.0, 2.0], [math.nan, 0.0, 0.0], [math.inf, math.inf, 0.0]]
    assert predicted_classes(logits).tolist() == [-1, 0, -1, -1, -1]
    assert classification_metrics(logits[:3], [0, 0, 0])["accuracy"] == pytest.approx(1 / 3)


@given(predictions(), st.data())
def test_images_without_a_prediction_are_misses_for_all_metrics(drawn, data):
    """scikit-learn with the extra class -1, which is not averaged over."""
    logits, labels = drawn
    tied = data.draw(st.lists(st.integers(0, len(labels) - 1), max_size=len(labels)))
    logits[tied, 0] = logits[tied, 1] = logits[tied].max(axis=1) + 1
    predicted, found = predicted_classes(logits), classification_metrics(logits, labels)
    assert (predicted[tied] == -1).all()
    assert found["accuracy"] == pytest.approx(accuracy_score(labels, predicted))
    known = sorted({*labels.tolist(), *predicted.tolist()} - {-1})
    for name, score in {"f1": f1_score, "precision": precision_score, "recall": recall_score}.items():
        macro = score(labels, predicted, labels=known, average="macro", zero_division=0)
        assert found[name] == pytest.approx(macro), name
        weighted = score(labels, predicted, labels=known, average="weighted", zero_division=0)
        assert found[f"{name}_weighted"] == pytest.approx(weighted), name


def test_nan_logits_give_nan():
    assert math.isnan(classification_metrics([[math.nan, 0.0]], [0])["nll"])
