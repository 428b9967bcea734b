"""Agreement, confusion, scores by class, calibration and McNemar's test, against scikit-learn and statsmodels."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from scipy.stats import binomtest
from sklearn import calibration, metrics
from statsmodels.stats.contingency_tables import mcnemar

from kdbench.analysis.metrics import expected_calibration_error
from kdbench.analysis.predictions import agreement, calibration_curve, class_scores, confusion_matrix, mcnemar_test

Array = NDArray[Any]
CLASSES = 5


def vectors(low: int) -> st.SearchStrategy[Array]:
    return arrays.arrays(np.int64, 60, elements=st.integers(low, CLASSES - 1))


@given(vectors(-1), vectors(-1))
def test_agreement_is_the_accuracy_of_one_by_the_other(first: Array, second: Array) -> None:
    labels = np.where(first < 0, CLASSES, first)  # a class that nothing predicts
    assert agreement(first, second) == metrics.accuracy_score(labels, second) == agreement(second, first)


def test_no_class_agrees_with_nothing() -> None:
    assert agreement(np.array([-1, -1, 2, 1]), np.array([-1, 0, 2, 2])) == 0.25


@given(vectors(0), vectors(-1))
def test_the_confusion_matrix_is_that_of_sklearn(labels: Array, predicted: Array) -> None:
    names = [*range(CLASSES), -1]
    assert (
        confusion_matrix(labels, predicted, CLASSES) == metrics.confusion_matrix(labels, predicted, labels=names)[:-1]
    ).all()


@given(vectors(0), vectors(-1))
def test_the_scores_by_class_are_those_of_sklearn(labels: Array, predicted: Array) -> None:
    found = class_scores(labels, predicted, CLASSES)
    expected = metrics.precision_recall_fscore_support(labels, predicted, labels=range(CLASSES), zero_division=0)
    for one, other in zip((found.precision, found.recall, found.f1, found.support), expected, strict=True):
        assert one == pytest.approx(other)


def confidences(images: int = 400) -> tuple[Array, Array]:
    rng = np.random.default_rng(0)
    probability = rng.uniform(0.2, 1, images)
    return probability, rng.random(images) < probability**2


@pytest.mark.parametrize("bins", [5, 15])
def test_the_calibration_curve_is_that_of_sklearn(bins: int) -> None:
    probability, correct = confidences()
    found = calibration_curve(probability, correct, bins)
    accuracy, confidence = calibration.calibration_curve(correct, probability, n_bins=bins)
    filled = found.counts > 0
    assert found.accuracy[filled] == pytest.approx(accuracy)
    assert found.confidence[filled] == pytest.approx(confidence)
    assert found.counts.sum() == len(probability)
    assert np.isnan(found.accuracy[~filled]).all()
    error = (found.counts[filled] * np.abs(accuracy - confidence)).sum() / len(probability)
    assert found.error == pytest.approx(error)
    assert expected_calibration_error(probability, correct, bins) == pytest.approx(error)


def test_a_bin_contains_its_upper_edge() -> None:
    assert calibration_curve(np.array([0.2, 0.4, 0.41, 1.0]), np.ones(4, bool), 5).counts.tolist() == [1, 1, 1, 0, 1]


@given(st.integers(0, 40), st.integers(0, 40))
def test_mcnemar_is_exact(only_first: int, only_second: int) -> None:
    first = np.array([True] * only_first + [False] * only_second + [True, False])
    second = np.array([False] * only_first + [True] * only_second + [True, False])
    found = mcnemar_test(first, second)
    assert (found.only_first, found.only_second) == (only_first, only_second)
    table = [[1, only_first], [only_second, 1]]
    assert found.p_value == pytest.approx(mcnemar(table, exact=True).pvalue)
    if only_first + only_second:
        assert found.p_value == pytest.approx(binomtest(only_first, only_first + only_second).pvalue)
