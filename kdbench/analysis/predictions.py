"""What predictions on the same images show: agreement, confusion, scores by class, calibration, McNemar's test.

Classes are integers from 0 to K - 1. A predicted class of -1 stands for no class, because several share the top logit:
it is a miss, and agrees with nothing.
"""

from dataclasses import dataclass
from typing import Any, final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]
Classes = npt.NDArray[np.integer[Any]]
Booleans = npt.NDArray[np.bool_]


def agreement(first: Classes, second: Classes) -> float:
    """Return the share of images (N,) for which two networks predict the same class."""
    return float(((first == second) & (first >= 0)).mean())


def confusion_matrix(labels: Classes, predicted: Classes, num_classes: int) -> Counts:
    """Return the number of images by true and predicted class (K, K + 1); the last column counts those without one."""
    columns = np.where(predicted < 0, num_classes, predicted)
    counts = np.bincount(labels * (num_classes + 1) + columns, minlength=num_classes * (num_classes + 1))
    return counts.reshape(num_classes, num_classes + 1)


@final
@dataclass(frozen=True, eq=False)
class ClassScores:
    """Precision, recall and F1 of each class (K,), from 0 to 1; 0 / 0 counts as 0."""

    precision: Floats
    recall: Floats
    f1: Floats
    support: Counts  # images of the class
    predictions: Counts  # images for which it is predicted


def class_scores(labels: Classes, predicted: Classes, num_classes: int) -> ClassScores:
    """Return the scores of each class."""
    hits, support, predictions = (
        np.bincount(found, minlength=num_classes)
        for found in (labels[predicted == labels], labels, predicted[predicted >= 0])
    )
    return ClassScores(
        precision=_ratio(hits, predictions),
        recall=_ratio(hits, support),
        f1=_ratio(2 * hits, support + predictions),
        support=support,
        predictions=predictions,
    )


@final
@dataclass(frozen=True, eq=False)
class Calibration:
    """Images by the probability of their predicted class, in B bins of equal width."""

    counts: Counts
    total_probability: Floats  # of the predicted classes
    hits: Floats

    @property
    def confidence(self) -> Floats:
        """The mean probability of the predicted class; NaN in an empty bin."""
        return self._mean(self.total_probability)

    @property
    def accuracy(self) -> Floats:
        """The share of hits; NaN in an empty bin."""
        return self._mean(self.hits)

    @property
    def error(self) -> float:
        """The expected calibration error (Guo et al. 2017, arXiv:1706.04599, eq. 3), from 0 to 1."""
        return float(np.abs(self.hits - self.total_probability).sum() / self.counts.sum())

    def _mean(self, total: Floats) -> Floats:
        with np.errstate(invalid="ignore"):
            return total / self.counts


def calibration_curve(probability: Floats, correct: Booleans, bins: int = 15) -> Calibration:
    """Return how confidence and accuracy compare, from the probability of the predicted class (N,) and the hits (N,).

    A bin contains its upper edge, as in Guo et al. 2017 (arXiv:1706.04599).
    """
    bin_of = np.digitize(probability, np.arange(1, bins) / bins, right=True)
    total, hits = (np.bincount(bin_of, values, minlength=bins).astype(np.float64) for values in (probability, correct))
    return Calibration(np.bincount(bin_of, minlength=bins), total, hits)


@final
@dataclass(frozen=True)
class McNemar:
    """The images that one of two networks classifies correctly and the other does not, and what chance makes of it."""

    only_first: int
    only_second: int
    p_value: float


def mcnemar_test(first: Booleans, second: Booleans) -> McNemar:
    """Return McNemar's exact test of two single runs, from their hits (N,) on the same images.

    McNemar, "Note on the sampling error of the difference between correlated proportions or percentages", 1947: if
    both are equally good, the images that only one of them gets right are split as by a fair coin. The two-sided
    p-value is twice the smaller tail, at most 1. It says nothing about other seeds.
    """
    from scipy.special import bdtr

    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    fewer, total = min(only_first, only_second), only_first + only_second
    return McNemar(only_first, only_second, min(1.0, 2 * float(bdtr(fewer, total, 0.5))))


def _ratio(numerator: Counts, denominator: Counts) -> Floats:
    return np.divide(numerator, denominator, out=np.zeros(len(numerator)), where=denominator > 0)
