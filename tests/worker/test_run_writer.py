"""The files of a finished run."""

import hashlib
import json
from dataclasses import replace

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from kdbench import models
from kdbench.analysis import classification_metrics
from kdbench.matrix import NetworkSpec
from kdbench.results import Store
from kdbench.results.hardware import cpu_model
from kdbench.results.predictions import read_predictions
from kdbench.results.table import read_rows
from kdbench.training.evaluation import compute_logits
from kdbench.worker import build
from kdbench.worker.cohort_data import load_cohort_data, load_task
from kdbench.worker.run_writer import architecture_key

CPU = torch.device("cpu")
NAMES = ("accuracy", "top5", "f1", "precision", "recall", "nll", "ece")
SUFFIXES = ("", "_best", "_best_test")
STABLE = {
    *("run_id", "cell", "matrix", "dataset", "teacher", "student", "method", "label", "params", "seed", "status"),
    *("error", "param.alpha", "param.temperature", "teacher_agreement", "parameters", "parameters_training", "flops"),
    *("inference_ms", "inference_ms_p95", "throughput", "peak_memory_mb", "train_seconds", "epochs_run", "best_epoch"),
    *("kdbench_version", "numerics", "git_commit", "torch_version", "device", "precision", "cohort_size", "attempts"),
    *("host", "started", "finished"),
    *(f"{part}_{name}{suffix}" for part in ("val", "test") for name in NAMES for suffix in ("", "_best")),
}


def run_of(plan, label):
    return next(cell.runs[0] for cell in plan.cells if cell.label == label and cell.kind != "teacher")


def scores(store, spec, part):
    """Compute the metrics of the weights on disk."""
    images = getattr(load_cohort_data(spec, CPU), part)
    network = build.Teachers(store, load_task(spec), CPU)(spec)
    return classification_metrics(compute_logits(network, images.batches()), images.labels)


@pytest.fixture(scope="module")
def distilled(tmp_path_factory, plan_of, train):
    """A vanilla student and its teacher: the plan, the student's spec, the store."""
    store, plan = Store(tmp_path_factory.mktemp("distilled")), plan_of({"vanilla": {"alpha": 0.5}})
    spec = run_of(plan, "vanilla")
    for run in (spec.teacher, spec):
        train(store, run)
    store.write_index(plan.index())
    return plan, spec, store


def test_a_row_has_every_stable_column(distilled):
    _, spec, store = distilled
    (row,) = [row for row in read_rows(store) if row["run_id"] == spec.id]
    assert row.keys() >= STABLE
    timed = {"inference_ms", "inference_ms_p95", "throughput"}
    assert {name for name in STABLE if row[name] is None} - {"git_commit"} == {"error", *timed}
    for name in (n for n in STABLE if n.partition("_")[0] in ("val", "test") and "nll" not in n):
        assert 0 <= row[name] <= 1, name


def test_a_row_describes_the_run(distilled):
    _, spec, store = distilled
    (row,) = [row for row in read_rows(store) if row["run_id"] == spec.id]
    assert (row["teacher"], row["student"], row["method"], row["label"]) == ("mlp_12", "mlp_8", "vanilla", "vanilla")
    assert json.loads(row["params"]) == {"alpha": 0.5, "temperature": 4.0}
    assert (row["status"], row["seed"], row["precision"], row["device"]) == ("done", 0, "fp32", "cpu")
    assert (row["epochs_run"], row["cohort_size"]) == (2, 1)
    assert row["parameters"] == row["parameters_training"] == 64 * 8 + 8 + 8 * 10 + 10
    assert row["flops"] == 2 * (64 * 8 + 8 * 10)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_scores_are_in_fp32_whatever_trained(store, plan_of, train, precision):
    spec = run_of(plan_of({}, {"precision": precision}, {"track_test": True}), "scratch")
    train(store, spec)
    row = store.result(spec.id)["row"]
    assert (row["precision"], row["tf32"]) == (precision, False)
    history = pq.read_table(store.folder(spec.id) / "history.parquet").to_pylist()
    for part, images in (("val", "validation"), ("test", "test")):
        exact = scores(store, spec, images)
        assert {name: row[f"{part}_{name}"] for name in NAMES} == {name: exact[name] for name in NAMES}
        assert history[-1][f"{part}_nll"] == exact["nll"]


def test_a_row_names_the_runs_that_it_needs(distilled):
    _, spec, store = distilled
    rows = {row["run_id"]: row for row in read_rows(store)}
    assert json.loads(rows[spec.id]["needs"]) == {"teacher": spec.teacher.id}
    assert json.loads(rows[spec.teacher.id]["needs"]) == {}


def test_a_row_counts_the_steps(distilled, store, plan_of, train):
    _, spec, trained = distilled
    assert trained.result(spec.id)["row"]["steps"] == 2 * (100 // 50)
    stopped = run_of(plan_of({}, {"epochs": 40, "early_stopping": {"patience": 1}, "batch_size": 30}), "scratch")
    train(store, stopped)
    row = store.result(stopped.id)["row"]
    assert row["epochs_run"] < 40
    assert row["steps"] == row["epochs_run"] * (100 // 30)


def test_the_steps_of_a_method_without_images_are_those_of_the_recipe(store, plan_of, train):
    pair = ("cnn_4_8", "cnn_4_4")
    spec = run_of(plan_of({"zskt": {"student_steps": 1}}, {"steps_per_epoch": 3}, pair=pair), "zskt")
    train(store, spec.teacher)
    train(store, spec)
    assert store.result(spec.id)["row"]["steps"] == 2 * 3


def test_a_row_names_the_processor(distilled):
    _, spec, store = distilled
    assert store.result(spec.id)["row"]["processor"] == cpu_model()


def test_the_metrics_are_those_of_the_weights_on_disk(distilled):
    _, spec, store = distilled
    row = store.result(spec.id)["row"]
    for part, prefix in (("test", "test"), ("validation", "val")):
        assert {f"{prefix}_{name}": value for name, value in scores(store, spec, part).items()}.items() <= row.items()


def test_the_result_has_size_and_checksum_of_the_files(distilled):
    _, spec, store = distilled
    folder, files = store.folder(spec.id), store.result(spec.id)["files"]
    assert set(files) == {"weights.safetensors", "history.parquet", "predictions.safetensors"}
    for name, entry in files.items():
        content = (folder / name).read_bytes()
        assert entry == {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    assert store.corruption(spec.id, deep=True) is None


def test_a_row_counts_the_attempts(store, plan_of, train):
    spec = run_of(plan_of({}), "scratch")
    for _ in range(3):
        store.begin_attempt(spec.id)
    train(store, spec)
    assert store.result(spec.id)["row"]["attempts"] == 3
    (row,) = read_rows(store)
    assert row["attempts"] == 3


def test_the_log_ends_with_the_number_of_epochs(distilled):
    _, spec, store = distilled
    assert (store.folder(spec.id) / "log.txt").read_text().splitlines()[-1].endswith(" done after 2 epochs")


def test_the_teacher_agreement_is_computed_on_the_test_images(distilled):
    _, spec, store = distilled
    teachers, images = build.Teachers(store, load_task(spec), CPU), load_cohort_data(spec, CPU).test
    predicted = [compute_logits(teachers(s), images.batches()).argmax(dim=1) for s in (spec, spec.teacher)]
    expected = (predicted[0] == predicted[1]).float().mean().item()
    assert store.result(spec.id)["row"]["teacher_agreement"] == pytest.approx(expected)
    assert store.result(spec.teacher.id)["row"]["teacher_agreement"] is None


def test_a_teacher_predicts_the_test_images_once_for_its_cohort(store, plan_of, train, monkeypatch):
    plan = plan_of({"vanilla": {"alpha": [0.1, 0.5, 0.9]}})
    students = [spec for spec in plan.runs if spec.method == "vanilla"]
    train(store, students[0].teacher)
    networks = []

    def spy(network, batches):
        networks.append(network)
        return compute_logits(network, batches)

    monkeypatch.setattr(build, "compute_logits", spy)
    train(store, *students)
    assert len(students) == 3
    assert len(networks) == 1
    rows = [store.result(spec.id)["row"] for spec in students]
    assert all(row["teacher_agreement"] is not None for row in rows)


def test_the_history_has_one_row_per_epoch(distilled):
    _, spec, store = distilled
    history = pq.read_table(store.folder(spec.id) / "history.parquet").to_pylist()
    assert [epoch["epoch"] for epoch in history] == [1, 2]
    assert {"lr", "seconds", "loss.ce", "loss.kl", "val_accuracy", "val_nll"} <= history[0].keys()
    row = store.result(spec.id)["row"]
    assert history[1]["val_nll"] == row["val_nll"]
    assert history[row["best_epoch"] - 1]["val_nll"] == row["val_nll_best"]


STOPPING = {
    "epochs": 40,
    "early_stopping": {"patience": 3},
    "optimizer": {"name": "adam", "lr": 0.1},
    "schedule": "constant",
}


@pytest.mark.parametrize("monitor", ["accuracy", "loss"])
def test_with_early_stopping_every_selection_shows_the_saved_weights_of_the_best_epoch(store, plan_of, train, monitor):
    spec = run_of(plan_of({}, {**STOPPING, "monitor": monitor}, {"track_test": True}), "scratch")
    train(store, spec)
    row = store.result(spec.id)["row"]
    history = pq.read_table(store.folder(spec.id) / "history.parquet").to_pylist()
    assert row["best_epoch"] < row["epochs_run"] == len(history) < 40
    ranked = [epoch["val_accuracy"] if monitor == "accuracy" else -epoch["val_nll"] for epoch in history]
    assert row["best_epoch"] == ranked.index(max(ranked)) + 1
    kept = history[row["best_epoch"] - 1]
    assert kept["val_nll"] != history[-1]["val_nll"]
    for part, images in (("val", "validation"), ("test", "test")):
        again = scores(store, spec, images)
        for suffix in ("", "_best", "_best_test"):
            assert {f"{part}_{name}{suffix}": value for name, value in again.items()}.items() <= row.items(), suffix
        assert again["nll"] == kept[f"{part}_nll"]


def test_with_early_stopping_the_other_networks_are_those_that_are_saved(store, plan_of, train):
    spec = run_of(plan_of({"dml": {}}, STOPPING), "dml")
    train(store, spec)
    result = store.result(spec.id)
    assert result["row"]["best_epoch"] < result["row"]["epochs_run"]
    saved = load_file(store.folder(spec.id) / "weights.safetensors")
    peer = models.build_from_spec(spec.peers[0], load_task(spec))
    peer.load_state_dict({key.removeprefix("peer1."): v for key, v in saved.items() if key.startswith("peer1.")})
    test = load_cohort_data(spec, CPU).test
    found = classification_metrics(compute_logits(peer, test.batches()), test.labels)
    assert result["deployed"]["peer1"]["test_nll"] == found["nll"]


def test_tracked_test_scores_have_their_best_epoch(store, plan_of, train):
    spec = run_of(plan_of({}, {"epochs": 3}, {"track_test": True}), "scratch")
    train(store, spec)
    row = store.result(spec.id)["row"]
    history = pq.read_table(store.folder(spec.id) / "history.parquet").to_pylist()
    best = max(history, key=lambda epoch: epoch["test_accuracy"])
    assert row["test_accuracy_best_test"] == best["test_accuracy"] >= row["test_accuracy"]
    for name in NAMES:
        assert row[f"val_{name}_best_test"] == best[f"val_{name}"]


def test_without_validation_there_is_no_best_epoch(store, plan_of, train):
    spec = run_of(plan_of({}, protocol={"validation": 0.0}), "scratch")
    train(store, spec)
    row = store.result(spec.id)["row"]
    assert not [name for name in row if name.startswith("val_") or name.endswith("_best")]
    assert row["best_epoch"] is None
    assert row["test_accuracy"] == scores(store, spec, "test")["accuracy"]


def test_without_tracking_there_is_no_best_test_epoch(distilled):
    _, spec, store = distilled
    assert not [name for name in store.result(spec.id)["row"] if name.endswith("_best_test")]
    history = pq.read_table(store.folder(spec.id) / "history.parquet")
    assert not [name for name in history.column_names if name.startswith("test_")]


def test_peers_have_their_own_scores(store, plan_of, train):
    spec = run_of(plan_of({"dml": {}}), "dml")
    train(store, spec)
    result = store.result(spec.id)
    assert list(result["deployed"]) == ["peer1"]
    assert result["deployed"]["peer1"]["parameters"] == 64 * 12 + 12 + 12 * 10 + 10
    assert result["row"]["parameters_training"] == result["row"]["parameters"] + 64 * 12 + 12 + 12 * 10 + 10
    assert 0 <= result["deployed"]["peer1"]["test_accuracy"] <= 1


def test_networks_of_one_architecture_have_one_key(plan_of):
    def key(width, image_shape=(1, 2, 2), source=None):
        network = NetworkSpec("mine", factory="nets:make", source=source)
        return architecture_key(torch.nn.Linear(4, width), image_shape, replace(spec, student=network))

    spec = run_of(plan_of({}), "scratch")
    assert key(3) == key(3)
    assert len({key(3), key(4), key(3, (1, 4, 1)), key(3, source="changed")}) == 4
    with_peers = replace(spec, peers=(spec.student, spec.student))
    network = torch.nn.Linear(4, 3)
    assert architecture_key(network, (1, 2, 2), spec) == architecture_key(network, (1, 2, 2), with_peers)


def test_the_predictions_are_those_of_the_weights_on_disk(distilled):
    _, spec, store = distilled
    images = load_cohort_data(spec, CPU).test
    for run in (spec.teacher, spec):
        logits = compute_logits(build.Teachers(store, load_task(spec), CPU)(run), images.batches())
        found, row = read_predictions(store, run.id)["student"], store.result(run.id)["row"]
        assert found.predicted.tolist() == logits.argmax(dim=1).tolist()
        assert found.correct.mean() == row["test_accuracy"]
        assert found.num_classes == 10
        assert found.nll.mean() == pytest.approx(row["test_nll"], abs=1e-3)
        assert found.true_probability == pytest.approx(
            logits.double().softmax(dim=1)[range(len(logits)), images.labels].numpy(), abs=2e-3
        )


def test_the_best_validation_epoch_has_predictions_if_it_is_not_the_last(store, plan_of, train):
    recipe = {"epochs": 40, "optimizer": {"name": "adam", "lr": 0.1}, "schedule": "constant"}
    spec = run_of(plan_of({}, recipe), "scratch")
    train(store, spec)
    row, networks = store.result(spec.id)["row"], read_predictions(store, spec.id)
    assert row["best_epoch"] < row["epochs_run"] == 40
    assert list(networks) == ["student", "best"]
    assert networks["student"].correct.mean() == row["test_accuracy"]
    assert networks["best"].correct.mean() == row["test_accuracy_best"]
    assert networks["best"].nll.mean() == pytest.approx(row["test_nll_best"], abs=2e-3)


def test_weights_that_are_the_last_and_the_best_have_predictions_once(store, plan_of, train):
    spec = run_of(plan_of({}, {"epochs": 1}), "scratch")
    train(store, spec)
    assert store.result(spec.id)["row"]["best_epoch"] == 1
    assert list(read_predictions(store, spec.id)) == ["student"]


def test_with_early_stopping_the_predictions_are_those_of_the_kept_weights(store, plan_of, train):
    spec = run_of(plan_of({}, STOPPING), "scratch")
    train(store, spec)
    networks = read_predictions(store, spec.id)
    assert list(networks) == ["student"]
    assert networks["student"].correct.mean() == scores(store, spec, "test")["accuracy"]


def test_peers_have_predictions(store, plan_of, train):
    spec = run_of(plan_of({"dml": {}}), "dml")
    train(store, spec)
    networks, result = read_predictions(store, spec.id), store.result(spec.id)
    assert {"student", "peer1"} <= networks.keys() <= {"student", "peer1", "best"}
    assert networks["peer1"].correct.mean() == result["deployed"]["peer1"]["test_accuracy"]


@pytest.mark.parametrize("recipe", [{}, STOPPING], ids=["last", "early stopping"])
def test_a_method_that_is_not_calibrated_has_no_nll_and_no_ece(store, plan_of, train, recipe):
    plan = plan_of({"spherical": {}, "vanilla": {}}, recipe, {"track_test": True})
    spherical, vanilla = run_of(plan, "spherical"), run_of(plan, "vanilla")
    train(store, spherical.teacher)
    train(store, spherical, vanilla)
    rows = {row["run_id"]: row for row in read_rows(store)}
    columns = [f"{part}_{name}{end}" for part in ("val", "test") for name in ("nll", "ece") for end in SUFFIXES]
    assert {rows[spherical.id].get(name) for name in columns} == {None}
    assert None not in {rows[vanilla.id].get(name) for name in columns}
    for end in SUFFIXES:
        assert 0 <= rows[spherical.id][f"val_accuracy{end}"] <= 1
    history = pq.read_table(store.folder(spherical.id) / "history.parquet").column_names
    assert not [name for name in history if name.endswith(("nll", "ece"))]
