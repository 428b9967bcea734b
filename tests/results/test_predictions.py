"""The file with the predictions of a run: what it keeps, its size, and its layout."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.numpy import load, save
from scipy.special import log_softmax, softmax
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, log_loss

from kdbench.analysis.metrics import expected_calibration_error
from kdbench.errors import ResultsError
from kdbench.matrix import RunSpec
from kdbench.results import Store
from kdbench.results.integrity import checksums
from kdbench.results.predictions import Predictions, decode, encode, read_predictions, write_predictions

Array = NDArray[Any]
LIMIT = 40_000  # bytes per network, for 10,000 images and up to 256 classes


def stored(predictions: Predictions) -> Predictions:
    """Return what a file keeps of predictions."""
    return decode(encode({"student": predictions}))["student"]


def realistic(images: int, classes: int, signal: float, scale: float, seed: int = 0) -> tuple[Array, Array]:
    """Return logits (N, K) float32 and labels (N,): noise, plus a signal for the true class, times a scale."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=images)
    logits = rng.normal(size=(images, classes)) + signal * np.eye(classes)[labels] * rng.gamma(4, 0.25, (images, 1))
    return (logits * scale).astype(np.float32), labels


REALISTIC = [
    *((10_000, 10, 6.0, 2.0), (10_000, 10, 3.0, 0.3), (10_000, 10, 4.0, 8.0), (10_000, 100, 5.0, 2.0)),
    *((10_000, 100, 0.0, 0.1), (10_000, 2, 2.0, 1.0), (2_000, 300, 5.0, 3.0)),
]


@pytest.mark.parametrize("case", REALISTIC)
def test_accuracy_confusion_and_f1_are_exact(case: Any) -> None:
    logits, labels = realistic(*case)
    predicted, found = logits.argmax(axis=1), stored(Predictions.from_logits(logits, labels))
    classes = np.arange(logits.shape[1])
    confusion = confusion_matrix(labels, predicted, labels=classes)
    assert (confusion_matrix(labels, found.predicted, labels=classes) == confusion).all()
    assert found.correct.mean() == accuracy_score(labels, predicted)
    assert f1_score(labels, found.predicted, average="macro") == f1_score(labels, predicted, average="macro")


@pytest.mark.parametrize("case", REALISTIC)
def test_nll_and_ece_are_within_a_thousandth(case: Any) -> None:
    logits, labels = realistic(*case)
    found = stored(Predictions.from_logits(logits, labels))
    probabilities = softmax(logits.astype(np.float64), axis=1)
    exact = log_loss(labels, probabilities, labels=np.arange(logits.shape[1]))
    assert found.nll.mean() == pytest.approx(exact, abs=1e-3)
    assert -np.log(found.true_probability).mean() == pytest.approx(exact, abs=1e-3)
    ece = expected_calibration_error(probabilities.max(axis=1), logits.argmax(axis=1) == labels)
    assert expected_calibration_error(found.probability, found.correct) == pytest.approx(ece, abs=1e-3)


@pytest.mark.parametrize("case", REALISTIC)
def test_the_probabilities_are_those_of_the_softmax(case: Any) -> None:
    logits, labels = realistic(*case)
    exact, images = Predictions.from_logits(logits, labels), np.arange(len(labels))
    probabilities = softmax(logits.astype(np.float64), axis=1)
    assert exact.probability == pytest.approx(probabilities.max(axis=1), rel=1e-12)
    assert exact.true_probability == pytest.approx(probabilities[images, labels], rel=1e-9)
    assert exact.nll == pytest.approx(-log_softmax(logits.astype(float), axis=1)[images, labels], rel=1e-9, abs=1e-15)
    assert stored(exact).probability == pytest.approx(exact.probability, abs=2e-3)


@pytest.mark.parametrize("classes", [2, 10, 100, 256])
@pytest.mark.parametrize("names", [("student",), ("student", "best", "peer1", "peer2")])
def test_ten_thousand_random_images_take_40_kb_per_network(classes: int, names: tuple[str, ...]) -> None:
    rng = np.random.default_rng(classes)
    random = Predictions(
        predicted=rng.integers(-1, classes, 10_000),
        log_odds=rng.uniform(-5, 40, 10_000),
        true_log_odds=rng.uniform(-1e4, 0, 10_000),
        correct=np.zeros(10_000, bool),
        num_classes=classes,
    )
    assert len(encode(dict.fromkeys(names, random))) <= LIMIT * len(names)


def test_a_thousand_classes_take_what_the_docstring_states() -> None:
    logits, labels = realistic(10_000, 1000, 3.0, 1.0)
    assert 41_250 < len(encode({"student": Predictions.from_logits(logits, labels)})) < 41_250 + 1000


def test_an_image_with_a_tied_top_logit_has_no_class_and_is_a_miss() -> None:
    logits = np.array([[1, 1, 0], [1, 1, 0], [0, 0, 0], [0, 1, 0]], np.float32)
    found = stored(Predictions.from_logits(logits, np.array([0, 2, 1, 1])))
    assert found.predicted.tolist() == [-1, -1, -1, 1]
    assert found.correct.tolist() == [False, False, False, True]
    assert found.true_probability[2] == found.probability[2] == pytest.approx(1 / 3, abs=1e-3)
    assert found.true_probability[0] == found.probability[0]
    assert found.true_probability[1] < found.probability[1]


@st.composite
def logits_and_labels(draw: st.DrawFn) -> tuple[Array, Array]:
    images, classes = draw(st.integers(1, 12)), draw(st.sampled_from([2, 3, 10, 255, 256, 257, 1000]))
    values = st.sampled_from([-3e38, -1e4, -50.0, -1.0, 0.0, 0.5, 1.0, 60.0, 3e38]) | st.floats(-20, 20, width=32)
    row = st.lists(values, min_size=3, max_size=3)
    logits = np.full((images, classes), draw(values), np.float32)
    for image in range(images):
        logits[image, [0, classes // 2, classes - 1]] = draw(row)
    return logits, np.array(draw(st.lists(st.integers(0, classes - 1), min_size=images, max_size=images)))


@given(logits_and_labels())
def test_classes_are_kept_exactly_and_log_odds_to_half_a_step(case: tuple[Array, Array]) -> None:
    logits, labels = case
    exact = Predictions.from_logits(logits, labels)
    found = stored(exact)
    assert (found.predicted == exact.predicted).all()
    assert (found.correct == exact.correct).all()
    assert found.num_classes == exact.num_classes == logits.shape[1]
    for image, row in enumerate(logits.tolist()):
        classes = [index for index, value in enumerate(row) if value == max(row)]
        assert found.predicted[image] == (classes[0] if len(classes) == 1 else -1)
        assert found.correct[image] == (classes == [labels[image]])
    for name, steps in (("log_odds", 4095), ("true_log_odds", 1022)):
        before, after = getattr(exact, name), getattr(found, name)
        both = np.concatenate([exact.log_odds, before])
        assert np.abs(before - after).max() <= (both.max() - both.min()) / steps * 0.51 + 1e-9 * np.abs(both).max()
    assert np.isfinite(found.nll).all()
    assert ((found.probability > 0) & (found.probability <= 1)).all()


def numbers(content: Array, bits: int) -> list[int]:
    """Return the numbers of a packed tensor, as the documentation states its layout."""
    stream = "".join(f"{byte:08b}"[::-1] for byte in content.tolist())
    return [int(stream[start : start + bits][::-1], 2) for start in range(0, len(stream) - bits + 1, bits)]


def test_the_layout_is_the_documented_one() -> None:
    logits = np.array([[0, 3, 1, 0], [2, 2, 0, 0], [5, 0, 0, 1], [0, 0, 0, 9]], np.float32)
    exact = Predictions.from_logits(logits, np.array([1, 2, 3, 0]))
    tensors = {key.removeprefix("peer."): value for key, value in load(encode({"peer": exact})).items()}
    assert tensors["size"].tolist() == [4, 4]
    assert numbers(tensors["predicted"], 2) == [1, 0, 0, 3]
    assert numbers(tensors["tied"], 1)[:4] == [0, 1, 0, 0]
    low, high, true_low, true_high = tensors["range"].tolist()
    assert (low, high) == (exact.log_odds.min(), exact.log_odds.max())
    assert (true_low, true_high) == (exact.true_log_odds[1:].min(), exact.true_log_odds[1:].max())
    top, true = numbers(tensors["probability"], 12)[:4], numbers(tensors["true_probability"], 10)[:4]
    assert [low + t / 4095 * (high - low) for t in top] == pytest.approx(exact.log_odds.tolist(), abs=2e-3)
    assert true[0] == 1023
    expected = [true_low + t / 1022 * (true_high - true_low) for t in true[1:]]
    assert expected == pytest.approx(exact.true_log_odds[1:].tolist(), abs=5e-3)


def test_the_bytes_of_a_small_file_keep_their_meaning() -> None:
    """A file that any machine has written is read alike on any other: all steps are exact in float64."""
    content = {
        "student.size": np.array([3, 10]),
        "student.predicted": np.array([0x97, 0x03], np.uint8),  # 7, 9, 3 in 4 bits
        "student.tied": np.array([0b100], np.uint8),
        "student.probability": np.array([0x00, 0xF0, 0xFF, 0x00, 0x08], np.uint8),  # 0, 4095, 2048 in 12 bits
        "student.true_probability": np.array([0xFF, 0x03, 0xE0, 0x3F], np.uint8),  # 1023, 0, 1022 in 10 bits
        "student.range": np.array([-1.5, 6.498046875, -9.0, -4.0]),  # high - low is 4095 / 512
    }
    found = decode(save(content))["student"]
    assert found.predicted.tolist() == [7, 9, -1]
    assert found.correct.tolist() == [True, False, False]
    assert found.log_odds.tolist() == [-1.5, 6.498046875, -1.5 + 2048 / 512]
    assert found.true_log_odds.tolist() == [-1.5, -9.0, -4.0]


def test_other_content_is_an_error() -> None:
    tensors = load(encode({"student": Predictions.from_logits(np.eye(3), np.arange(3))}))
    for key in tensors:
        with pytest.raises(ValueError, match="is missing"):
            decode(save({name: value for name, value in tensors.items() if name != key}))
    for key in ("predicted", "tied", "probability", "true_probability"):
        longer = np.zeros(len(tensors[f"student.{key}"]) + 1, np.uint8)
        with pytest.raises(ValueError, match="bytes instead of those of 3 numbers of"):
            decode(save({**tensors, f"student.{key}": longer}))


def test_the_networks_of_a_run_are_read_by_name(
    store: Store, teacher: RunSpec, finished: Callable[[Store, RunSpec], None]
) -> None:
    finished(store, teacher)
    one = Predictions.from_logits(np.eye(3), np.array([0, 1, 1]))
    write_predictions(store, teacher.id, {"best": one, "peer1": one, "student": one})
    with pytest.raises(ResultsError, match=r"predictions\.safetensors: corrupted \(.* has .* bytes, expected"):
        read_predictions(store, teacher.id)
    store.write_result(teacher.id, {"status": "done", "files": checksums(store.folder(teacher.id))})
    networks = read_predictions(store, teacher.id)
    assert list(networks) == ["student", "best", "peer1"]
    assert networks["peer1"].predicted.tolist() == [0, 1, 2]
    assert not list(store.root.rglob("*.tmp"))


def test_corrupted_predictions_name_the_remedy(
    store: Store, teacher: RunSpec, finished: Callable[[Store, RunSpec], None]
) -> None:
    finished(store, teacher)
    path = store.folder(teacher.id) / "predictions.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    remedy = "; run `kdbench reindex --deep`, then run the matrix again"
    for why in ("does not match its checksum", "is missing"):
        with pytest.raises(ResultsError) as caught:
            read_predictions(store, teacher.id)
        assert str(caught.value) == f"{path}: corrupted ({path.name} {why}){remedy}"
        path.unlink(missing_ok=True)
    path.write_bytes(b"abc")
    store.write_result(teacher.id, {"status": "done", "files": checksums(path.parent)})
    with pytest.raises(ResultsError, match="corrupted"):
        read_predictions(store, teacher.id)


def test_only_a_run_that_is_done_has_predictions(store: Store, teacher: RunSpec) -> None:
    store.write_spec(teacher)
    with pytest.raises(ResultsError, match="a run that is pending has no predictions; a run must be done"):
        read_predictions(store, teacher.id)
    store.write_result(teacher.id, {"status": "failed", "error": "NaN"})
    with pytest.raises(ResultsError, match="a run that is failed has no predictions"):
        read_predictions(store, teacher.id)
