"""Metrics of a classifier's logits. All are fractions from 0 to 1, except nll, which is in nats."""

import numpy as np
import numpy.typing as npt

from kdbench.analysis.predictions import calibration_curve, class_scores

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]


def classification_metrics(logits: npt.ArrayLike, labels: npt.ArrayLike) -> dict[str, float]:
    """Return all metrics of logits (N, K) against labels (N,).

    An image whose highest logit is tied has no predicted class (see `predicted_classes`), which is a miss, so that a
    network with constant outputs has accuracy 0. `top5` ranks ties by the index of the class; it is 1 if there are at
    most five classes. `f1`, `precision` and `recall` are macro averages over the classes
    that occur among the labels or the predictions, and a ratio with denominator 0 counts as 0, as in scikit-learn with
    `zero_division=0`; `*_weighted` are averages weighted by the number of labels. `nll` is the mean cross-entropy.
    `ece` is the expected calibration error over 15 bins of equal width (Guo et al. 2017, arXiv:1706.04599, eq. 3).
    """
    scores = np.asarray(logits, dtype=np.float64)
    targets = np.asarray(labels, dtype=np.int64)
    log_probabilities = _log_softmax(scores)
    predicted = predicted_classes(scores)
    return {
        "accuracy": float((predicted == targets).mean()),
        "top5": top_k_accuracy(scores, targets, 5),
        **_averages_over_classes(predicted, targets, scores.shape[1]),
        "nll": float(-log_probabilities[np.arange(len(targets)), targets].mean()),
        "ece": expected_calibration_error(np.exp(log_probabilities.max(axis=1)), predicted == targets),
    }


def predicted_classes(logits: npt.ArrayLike) -> Labels:
    """Return the class (N,) with the highest of the logits (N, K); -1 where two share it, or one is NaN."""
    scores = np.asarray(logits)
    is_unique = (scores == scores.max(axis=1, keepdims=True)).sum(axis=1) == 1
    return np.where(is_unique, scores.argmax(axis=1), -1)


def top_k_accuracy(scores: Floats, targets: Labels, k: int) -> float:
    """Return the share of samples whose target is among the k highest of the scores (N, K).

    Of equal scores the one with the lower index ranks higher.
    """
    of_target = scores[np.arange(len(targets)), targets][:, None]
    is_tied_before = (scores == of_target) & (np.arange(scores.shape[1]) < targets[:, None])
    ranks_before = ~(scores <= of_target) | is_tied_before  # the negation counts NaN, too
    return float((ranks_before.sum(axis=1) < k).mean())


def expected_calibration_error(confidence: Floats, correct: npt.NDArray[np.bool_], bins: int = 15) -> float:
    """Return the mean gap between confidence (N,) and accuracy over bins of equal width, weighted by their size."""
    return calibration_curve(confidence, correct, bins).error


def _averages_over_classes(predicted: Labels, targets: Labels, classes: int) -> dict[str, float]:
    scores = class_scores(targets, predicted, classes)
    by_class = {"f1": scores.f1, "precision": scores.precision, "recall": scores.recall}
    occurs = (scores.support + scores.predictions) > 0
    macro = {name: float(values[occurs].mean()) for name, values in by_class.items()}
    weighted = {
        f"{name}_weighted": float((values * scores.support).sum() / len(targets)) for name, values in by_class.items()
    }
    return macro | weighted


def _log_softmax(scores: Floats) -> Floats:
    with np.errstate(invalid="ignore"):  # infinite logits of a diverged network give NaN
        shifted = scores - scores.max(axis=1, keepdims=True)
    result: Floats = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return result
