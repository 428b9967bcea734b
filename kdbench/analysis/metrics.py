"""What a classifier's logits are worth. Fractions from 0 to 1; nll in nats."""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]


def metrics(logits: npt.ArrayLike, labels: npt.ArrayLike) -> dict[str, float]:
    """Every metric of logits (N, K) against labels (N,).

    `top5` is 1 where there are no more than five classes. `f1`, `precision` and `recall` are macro averages over the
    classes that occur among the labels or the predictions, with 0 where a class is never predicted or never there;
    `*_weighted` weigh classes by their number of labels. `ece` is the expected calibration error over 15 bins of equal
    width (Guo et al. 2017, arXiv:1706.04599).
    """
    scores = np.asarray(logits, dtype=np.float64)
    truth = np.asarray(labels, dtype=np.int64)
    log_probabilities = _log_softmax(scores)
    predicted = scores.argmax(axis=1)
    return {
        "accuracy": float((predicted == truth).mean()),
        "top5": top(scores, truth, 5),
        **_by_class(predicted, truth, scores.shape[1]),
        "nll": float(-log_probabilities[np.arange(len(truth)), truth].mean()),
        "ece": calibration_error(np.exp(log_probabilities.max(axis=1)), predicted == truth),
    }


def top(scores: Floats, truth: Labels, k: int) -> float:
    """The share of samples whose label is among the k highest scores."""
    of_label = scores[np.arange(len(truth)), truth]
    higher = (scores > of_label[:, None]).sum(axis=1)
    return float((higher < k).mean())


def calibration_error(confidence: Floats, correct: npt.NDArray[np.bool_], bins: int = 15) -> float:
    """The mean gap between confidence and accuracy over bins of equal width, weighted by their size."""
    place = np.digitize(confidence, np.arange(1, bins) / bins, right=True)
    gaps = np.bincount(place, weights=correct, minlength=bins) - np.bincount(place, weights=confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(confidence))


def _by_class(predicted: Labels, truth: Labels, classes: int) -> dict[str, float]:
    table = np.bincount(truth * classes + predicted, minlength=classes * classes).reshape(classes, classes)
    hits, support, guesses = np.diag(table).astype(float), table.sum(axis=1), table.sum(axis=0)
    by_class = {
        "f1": _ratio(2 * hits, support + guesses),
        "precision": _ratio(hits, guesses),
        "recall": _ratio(hits, support),
    }
    there = (support + guesses) > 0
    macro = {name: float(values[there].mean()) for name, values in by_class.items()}
    weighted = {f"{name}_weighted": float((values * support).sum() / len(truth)) for name, values in by_class.items()}
    return macro | weighted


def _ratio(part: Floats, whole: npt.NDArray[np.int64]) -> Floats:
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)


def _log_softmax(scores: Floats) -> Floats:
    with np.errstate(invalid="ignore"):  # infinite logits of a network that diverged give NaN
        shifted = scores - scores.max(axis=1, keepdims=True)
    result: Floats = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return result
