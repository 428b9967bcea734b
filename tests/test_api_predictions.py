"""`kdbench.load_predictions`: the predictions of a run as data frames."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.metrics import accuracy_score

import kdbench
from kdbench.data import DataSpec, get_fingerprint, load
from kdbench.errors import DataError, ResultsError
from kdbench.matrix import NetworkSpec, Part, RunSpec, Split
from kdbench.matrix.recipe import Recipe
from kdbench.results import Store
from kdbench.results.integrity import FILES, checksums
from kdbench.results.predictions import Predictions, write_predictions

DIGITS = DataSpec("digits", "digits", {})
COLUMNS = ["label", "predicted", "correct", "probability", "true_probability"]


def run_on(fingerprint: str, seed: int = 0) -> RunSpec:
    data = DataSpec(DIGITS.name, DIGITS.kind, {}, fingerprint)
    return RunSpec(data, NetworkSpec("small"), (Part("scratch"),), Recipe(), Split(), seed)


def finish(store: Store, spec: RunSpec, networks: dict[str, Predictions]) -> str:
    """Let a run be done with these predictions; return its id."""
    store.write_spec(spec)
    folder = store.folder(spec.id)
    for name in FILES:
        (folder / name).write_bytes(b"")
    write_predictions(store, spec.id, networks)
    store.write_result(spec.id, {"status": "done", "row": {}, "files": checksums(folder)})
    return spec.id


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


@pytest.fixture
def logits() -> Any:
    """Logits for the test images of digits, whose last three are tied."""
    labels = load(DIGITS).test_labels
    found = np.random.default_rng(0).normal(size=(len(labels), 10)) + 2 * np.eye(10)[labels]
    found[-3:] = 0
    return found


def test_one_frame_per_network_with_labels_of_the_data_set(store: Store, logits: Any) -> None:
    labels = load(DIGITS).test_labels
    assert set(labels) <= set(load_digits().target)
    networks = {"student": Predictions.from_logits(logits, labels), "peer1": Predictions.from_logits(-logits, labels)}
    run = finish(store, run_on(get_fingerprint(DIGITS)), networks)
    frames = kdbench.load_predictions(run, store.root)
    assert list(frames) == ["student", "peer1"]
    frame = frames["student"]
    assert list(frame.columns) == COLUMNS
    assert frame.index.name == "image"
    assert frame["label"].tolist() == labels.tolist()
    assert frame["predicted"].tolist() == [*logits.argmax(axis=1)[:-3], -1, -1, -1]
    assert frame["correct"].mean() == accuracy_score(labels, frame["predicted"])
    assert (frame["probability"] >= frame["true_probability"]).all()
    assert frame["probability"].iloc[-1] == pytest.approx(0.1, abs=1e-3)


def test_the_first_digits_of_an_id_are_enough(store: Store, logits: Any) -> None:
    one = Predictions.from_logits(logits, load(DIGITS).test_labels)
    run = finish(store, run_on(get_fingerprint(DIGITS)), {"student": one})
    assert kdbench.load_predictions(run[:6], str(store.root))["student"]["predicted"].tolist() == one.predicted.tolist()
    other = finish(store, run_on(get_fingerprint(DIGITS), seed=1), {"student": one})
    with pytest.raises(ResultsError, match=f"{other}0: no such run"):
        kdbench.load_predictions(f"{other}0", store.root)
    with pytest.raises(ResultsError, match="2 runs start with this"):
        kdbench.load_predictions("", store.root)


def test_labels_of_another_data_set_are_an_error(store: Store, logits: Any) -> None:
    run = finish(store, run_on("f00d"), {"student": Predictions.from_logits(logits, load(DIGITS).test_labels)})
    with pytest.raises(DataError, match=r"data set 'digits' has changed: .* restore its files, or use labels=False"):
        kdbench.load_predictions(run, store.root)
    frame = kdbench.load_predictions(run, store.root, labels=False)["student"]
    assert list(frame.columns) == COLUMNS[1:]


def test_a_run_that_is_not_done_and_a_folder_that_is_missing_are_errors(store: Store, tmp_path: Path) -> None:
    store.write_spec(run_on("f00d"))
    with pytest.raises(ResultsError, match="a run that is pending has no predictions"):
        kdbench.load_predictions(run_on("f00d").id, store.root)
    with pytest.raises(ResultsError, match="results folder not found"):
        kdbench.load_predictions("0", tmp_path / "none")
