"""Metrics of a classifier's logits. All are fractions from 0 to 1, except nll, which is in nats."""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]


def classification_metrics(logits: npt.ArrayLike, labels: npt.ArrayLike) -> dict[str, float]:
    """Return all metrics of logits (N, K) against labels (N,).

    `top5` is 1 if there are at most five classes. `f1`, `precision` and `recall` are macro averages over the classes
    that occur among the labels or the predictions, and a ratio with denominator 0 counts as 0, as in scikit-learn with
    `zero_division=0`; `*_weighted` are averages weighted by the number of labels. `nll` is the mean cross-entropy.
    `ece` is the expected calibration error over 15 bins of equal width (Guo et al. 2017, arXiv:1706.04599, eq. 3).
    """
    scores = np.asarray(logits, dtype=np.float64)
    targets = np.asarray(labels, dtype=np.int64)
    log_probabilities = _log_softmax(scores)
    predicted = scores.argmax(axis=1)
    return {
        "accuracy": float((predicted == targets).mean()),
        "top5": top_k_accuracy(scores, targets, 5),
        **_averages_over_classes(predicted, targets, scores.shape[1]),
        "nll": float(-log_probabilities[np.arange(len(targets)), targets].mean()),
        "ece": expected_calibration_error(np.exp(log_probabilities.max(axis=1)), predicted == targets),
    }


def top_k_accuracy(scores: Floats, targets: Labels, k: int) -> float:
    """Return the share of samples whose target is among the k highest of the scores (N, K)."""
    of_target = scores[np.arange(len(targets)), targets]
    higher = (scores > of_target[:, None]).sum(axis=1)
    return float((higher < k).mean())


def expected_calibration_error(confidence: Floats, correct: npt.NDArray[np.bool_], bins: int = 15) -> float:
    """Return the mean gap between confidence (N,) and accuracy over bins of equal width, weighted by their size."""
    bin_of = np.digitize(confidence, np.arange(1, bins) / bins, right=True)
    gaps = np.bincount(bin_of, correct, minlength=bins) - np.bincount(bin_of, confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(confidence))


def _averages_over_classes(predicted: Labels, targets: Labels, classes: int) -> dict[str, float]:
    confusion = np.bincount(targets * classes + predicted, minlength=classes * classes).reshape(classes, classes)
    hits, support, predictions = np.diag(confusion).astype(float), confusion.sum(axis=1), confusion.sum(axis=0)
    by_class = {
        "f1": _ratio(2 * hits, support + predictions),
        "precision": _ratio(hits, predictions),
        "recall": _ratio(hits, support),
    }
    occurs = (support + predictions) > 0
    macro = {name: float(values[occurs].mean()) for name, values in by_class.items()}
    weighted = {f"{name}_weighted": float((values * support).sum() / len(targets)) for name, values in by_class.items()}
    return macro | weighted


def _ratio(numerator: Floats, denominator: npt.NDArray[np.int64]) -> Floats:
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator > 0)


def _log_softmax(scores: Floats) -> Floats:
    with np.errstate(invalid="ignore"):  # infinite logits of a diverged network give NaN
        shifted = scores - scores.max(axis=1, keepdims=True)
    result: Floats = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return result
