"""What the scored networks of a run predict on each test image, and the file that stores it.

The file `predictions.safetensors` has six tensors per network, named `<network>.<tensor>`:

- `size`, int64: the number N of test images and the number K of classes;
- `predicted`: the predicted class, in max(1, ceil(log2 K)) bits per image; 0 if the top logit is tied;
- `tied`: 1 if several classes share the top logit, in 1 bit;
- `probability`: a number t of 12 bits: the log odds of the top class are low + t / 4095 * (high - low);
- `true_probability`: a number t of 10 bits: the log odds of the true class are low + t / 1022 * (high - low), or, if t
  is 1023, those of the top class, because the true class has the top logit;
- `range`, float64: low and high of `probability`, then low and high of `true_probability`.

A probability p has the log odds log(p / (1 - p)). Tensors of numbers of b bits are uint8: the numbers follow each other
without gaps, in the order of the test images, the lowest bit first and in the lowest free bit of a byte. For 10,000
images and up to 256 classes that is at most 38,750 bytes and a header of less than 1,000 bytes per network. With more
classes an image takes 23 + ceil(log2 K) bits: 41,250 bytes and the header for 1,000 classes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

import numpy as np
from numpy.typing import NDArray

from kdbench.errors import ResultsError, StorageError
from kdbench.results.files import corrupted, write_bytes
from kdbench.results.integrity import MAX_PREDICTIONS, PREDICTIONS, file_corruption
from kdbench.results.regular_files import read_regular

if TYPE_CHECKING:
    from kdbench.results.store import Store

STUDENT = "student"  # the network whose weights are scored and saved
BEST = "best"  # the same network at the best validation epoch, if that is another

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]

TOP_BITS, TRUE_BITS = 12, 10
MAX_LOG_ODDS = 40.0  # the float64 next to the probability is 1
HAS_TOP_LOGIT = 2**TRUE_BITS - 1  # the code of a true class with the top logit


@final
@dataclass(frozen=True, eq=False)
class Predictions:
    """What one network predicts on N test images, in the order of the data set.

    Args:
        predicted: the class (N,) int64; -1 if several classes share the top logit, which is a miss.
        log_odds: log(p / (1 - p)) of the probability p of the top class (N,), at most 40.
        true_log_odds: the same of the true class (N,).
        correct: whether the predicted class is the true class (N,).
        num_classes: the number of classes.
    """

    predicted: Codes
    log_odds: Floats
    true_log_odds: Floats
    correct: NDArray[np.bool_]
    num_classes: int

    @staticmethod
    def from_logits(logits: NDArray[Any], labels: NDArray[Any]) -> "Predictions":
        """Return the predictions of finite logits (N, K) for images with labels (N,)."""
        scores, images = np.asarray(logits, np.float64), np.arange(len(labels))
        shifted = scores - scores.max(axis=1, keepdims=True)
        predicted, is_tied = shifted.argmax(axis=1), (shifted == 0).sum(axis=1) > 1
        return Predictions(
            predicted=np.where(is_tied, -1, predicted),
            log_odds=_log_odds(shifted, predicted),
            true_log_odds=_log_odds(shifted, labels),
            correct=~is_tied & (shifted[images, labels] == 0),
            num_classes=scores.shape[1],
        )

    @property
    def probability(self) -> Floats:
        """The probability of the predicted class, or, without one, of each class with the top logit (N,)."""
        return _sigmoid(self.log_odds)

    @property
    def true_probability(self) -> Floats:
        """The probability of the true class (N,)."""
        return _sigmoid(self.true_log_odds)

    @property
    def nll(self) -> Floats:
        """The negative log-likelihood of the true class (N,), in nats."""
        return np.logaddexp(0, -self.true_log_odds)


def encode(networks: Mapping[str, Predictions]) -> bytes:
    """Return the content of a file with the predictions of these networks, by name."""
    from safetensors.numpy import save

    return save({f"{name}.{key}": value for name, one in networks.items() for key, value in _tensors(one).items()})


def decode(content: bytes) -> dict[str, Predictions]:
    """Return what `encode` has written, by the name of the network: "student", "best", then the others by name.

    Log odds are rounded to the steps of the file.

    Raises:
        ValueError: the content has another structure.
        SafetensorError: the content is no safetensors file.
    """
    from safetensors.numpy import load

    networks: dict[str, dict[str, NDArray[Any]]] = {}
    for key, value in load(content).items():
        name, _, tensor = key.rpartition(".")
        networks.setdefault(name, {})[tensor] = value
    try:
        names = sorted(networks, key=lambda name: (name != STUDENT, name != BEST, name))
        return {name: _predictions(networks[name]) for name in names}
    except KeyError as error:
        raise ValueError(f"the tensor {error} is missing") from None


def write_predictions(store: "Store", run_id: str, networks: Mapping[str, Predictions]) -> None:
    """Write the predictions of a run's networks, by name.

    Raises:
        StorageError: the folder cannot be written to.
    """
    write_bytes(store.folder(run_id) / PREDICTIONS, encode(networks))


def read_predictions(store: "Store", run_id: str) -> dict[str, Predictions]:
    """Return the predictions of a run that is done, by the name of the network; in the order of `decode`.

    Raises:
        ResultsError: the run is not done, or its file is missing or corrupted.
        StorageError: the file cannot be read.
    """
    result, path = store.result(run_id), store.folder(run_id) / PREDICTIONS
    if result is None or result["status"] != "done":
        state = store.state(run_id)
        raise ResultsError(
            f"{run_id}: a run that is {state} has no predictions; a run must be done; `kdbench show {run_id}` gives "
            "its state, and `kdbench run MATRIX` trains it"
        )
    reason = file_corruption(path, result.get("files", {}).get(PREDICTIONS), deep=True)
    if reason is not None:
        raise corrupted(path, reason)
    try:
        return decode(read_regular(path, MAX_PREDICTIONS))
    except StorageError:
        raise
    except Exception as error:  # safetensors raises its own type, and OSError
        raise corrupted(path, error) from None


def _tensors(one: Predictions) -> dict[str, NDArray[Any]]:
    is_tied = one.predicted < 0
    has_top_logit = one.correct | (is_tied & (one.true_log_odds == one.log_odds))
    top, top_range = _quantize(one.log_odds, 2**TOP_BITS - 1)
    other, true_range = _quantize(one.true_log_odds[~has_top_logit], HAS_TOP_LOGIT - 1)
    true = np.full(len(top), HAS_TOP_LOGIT)
    true[~has_top_logit] = other
    return {
        "size": np.array([len(top), one.num_classes], np.int64),
        "predicted": _pack(np.maximum(one.predicted, 0), _class_bits(one.num_classes)),
        "tied": _pack(is_tied, 1),
        "probability": _pack(top, TOP_BITS),
        "true_probability": _pack(true, TRUE_BITS),
        "range": np.array([*top_range, *true_range], np.float64),
    }


def _predictions(tensors: Mapping[str, NDArray[Any]]) -> Predictions:
    images, classes = map(int, tensors["size"])
    is_tied = _unpack(tensors["tied"], 1, images) == 1
    top, true = (
        _unpack(tensors[key], bits, images)
        for key, bits in (("probability", TOP_BITS), ("true_probability", TRUE_BITS))
    )
    top_low, top_high, true_low, true_high = map(float, tensors["range"])
    log_odds = top_low + top / (2**TOP_BITS - 1) * (top_high - top_low)
    other = true_low + true / (HAS_TOP_LOGIT - 1) * (true_high - true_low)
    predicted = _unpack(tensors["predicted"], _class_bits(classes), images)
    return Predictions(
        predicted=np.where(is_tied, -1, predicted),
        log_odds=log_odds,
        true_log_odds=np.where(true == HAS_TOP_LOGIT, log_odds, other),
        correct=~is_tied & (true == HAS_TOP_LOGIT),
        num_classes=classes,
    )


def _log_odds(shifted: Floats, classes: Codes) -> Floats:
    """Return the log odds of one class per row of logits (N, K) whose maximum is 0."""
    images, others = np.arange(len(shifted)), np.exp(shifted)
    others[images, classes] = 0  # not subtracted from the sum, which would lose the digits of a small rest
    with np.errstate(divide="ignore"):
        found = shifted[images, classes] - np.log(others.sum(axis=1))
    result: Floats = np.minimum(found, MAX_LOG_ODDS)
    return result


def _sigmoid(log_odds: Floats) -> Floats:
    return np.exp(-np.logaddexp(0, -log_odds))


def _quantize(values: Floats, steps: int) -> tuple[Codes, tuple[float, float]]:
    """Return the nearest of the equal steps between the lowest and the highest value, and these two."""
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 0.0)
    return np.rint((values - low) / ((high - low) or 1.0) * steps).astype(np.int64), (low, high)


def _class_bits(classes: int) -> int:
    return max(1, (classes - 1).bit_length())


def _pack(values: NDArray[Any], bits: int) -> NDArray[np.uint8]:
    """Return the lowest `bits` bits of integers (N,) as bytes."""
    columns = (values[:, None].astype(np.int64) >> np.arange(bits)) & 1
    return np.packbits(columns.astype(np.uint8).ravel(), bitorder="little")


def _unpack(content: NDArray[np.uint8], bits: int, count: int) -> Codes:
    """Return the integers (N,) that `_pack` packed.

    Raises:
        ValueError: the content does not have the bytes of `count` integers.
    """
    if content.shape != ((count * bits + 7) // 8,):
        raise ValueError(f"{content.size} bytes instead of those of {count} numbers of {bits} bits")
    columns = np.unpackbits(content, count=count * bits, bitorder="little").reshape(count, bits)
    return columns.astype(np.int64) @ (1 << np.arange(bits))
