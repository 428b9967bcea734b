"""Networks that start from weights: the teacher of one matrix in another, as it is and as a beginning."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file

from kdbench.errors import MatrixError
from kdbench.events import RunDone
from kdbench.matrix import RunSpec, parse
from kdbench.plan import Plan, make_plan
from kdbench.results import Store
from kdbench.results.predictions import read_predictions
from kdbench.results.table import load_results
from kdbench.results.timings import read_timings
from kdbench.worker.timing import time_run

RECIPE = {"epochs": 2, "batch_size": 50, "precision": "fp32", "train_samples": 100}
Train = Callable[..., list[Mapping[str, Any]]]


def plan_with(path: Path | str, recipe: Mapping[str, Any], protocol: Mapping[str, Any] | None = None) -> Plan:
    raw = {
        "name": "second",
        "datasets": ["digits"],
        "pairs": [{"teacher": "big", "student": "mlp_8"}],
        "network": {"big": {"architecture": "mlp_12", "weights": str(path)}},
        "recipe": {**RECIPE, **recipe},
        "protocol": protocol or {},
        "methods": {"vanilla": {}, "dml": {}},
    }
    return make_plan(parse(raw, "second.toml"))


def of_label(plan: Plan, label: str) -> RunSpec:
    (run,) = [run for cell in plan.cells for run in cell.runs.values() if cell.label == label]
    return run


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory, plan_of: Callable[..., Plan], train: Train) -> tuple[Store, Plan]:
    """A matrix whose teacher has been trained."""
    store, plan = Store(tmp_path_factory.mktemp("first")), plan_of({"vanilla": {}, "dml": {}})
    train(store, of_label(plan, "teacher"))
    return store, plan


AS_IT_IS = {"teacher": {"epochs": 0}}


def test_a_finished_run_is_the_teacher_of_another_matrix(first: tuple[Store, Plan], store: Store, train: Train) -> None:
    trained, before = first
    old = of_label(before, "teacher")
    plan = plan_with(trained.folder(old.id), AS_IT_IS, {"track_test": True})
    teacher, vanilla = of_label(plan, "teacher"), of_label(plan, "vanilla")
    assert train(store, teacher) == [RunDone(teacher.id)]
    assert train(store, vanilla)[-1] == RunDone(vanilla.id)
    row, expected = (s.result(run.id)["row"] for s, run in ((store, teacher), (trained, old)))
    scores = [key for key in expected if key.startswith(("val_", "test_")) and not key.endswith("_best")]
    assert scores
    for key in scores:
        assert row[key] == row[f"{key}_best"] == row[f"{key}_best_test"] == expected[key]
    assert (row["epochs_run"], row["best_epoch"], row["parameters"]) == (0, 0, expected["parameters"])
    assert same(weights(store, teacher), weights(trained, old))
    predictions = read_predictions(store, teacher.id)
    assert list(predictions) == ["student"]
    assert predictions["student"].correct.mean() == row["test_accuracy"]
    table = load_results(str(store.root)).set_index("run_id")
    assert table.loc[teacher.id, ["status", "student", "epochs_run"]].tolist() == ["done", "big", 0]


def test_a_run_of_no_epochs_has_a_typed_history(first: tuple[Store, Plan], store: Store, train: Train) -> None:
    trained, before = first
    teacher = of_label(plan_with(trained.folder(of_label(before, "teacher").id), AS_IT_IS), "teacher")
    train(store, teacher)
    history = pq.read_table(store.folder(teacher.id) / "history.parquet")
    assert history.num_rows == 0
    assert (history.schema.field("epoch").type, history.schema.field("lr").type) == (pa.int64(), pa.float64())


def test_without_validation_there_is_no_best_epoch(first: tuple[Store, Plan], store: Store, train: Train) -> None:
    trained, before = first
    path = trained.folder(of_label(before, "teacher").id)
    teacher = of_label(plan_with(path, AS_IT_IS, {"validation": 0.0}), "teacher")
    train(store, teacher)
    row = store.result(teacher.id)["row"]
    assert row["best_epoch"] is None
    assert "test_accuracy" in row
    assert "test_accuracy_best" not in row


def test_training_goes_on_from_the_weights(first: tuple[Store, Plan], store: Store, train: Train) -> None:
    trained, before = first
    old = of_label(before, "teacher")
    slow = {"teacher": {"epochs": 1, "optimizer": {"name": "sgd", "lr": 1e-9}}}
    teacher = of_label(plan_with(trained.folder(old.id), slow), "teacher")
    train(store, teacher)
    for name, value in weights(trained, old).items():
        assert torch.allclose(weights(store, teacher)[name], value, atol=1e-6)


def test_the_weights_are_in_the_identity_and_peers_start_at_random(first: tuple[Store, Plan], tmp_path: Path) -> None:
    trained, before = first
    old = of_label(before, "teacher")
    elsewhere = tmp_path / "copy.safetensors"
    elsewhere.write_bytes((trained.folder(old.id) / "weights.safetensors").read_bytes())
    there, here = plan_with(trained.folder(old.id), AS_IT_IS), plan_with(elsewhere, AS_IT_IS)
    assert [run.id for run in there.runs] == [run.id for run in here.runs]
    assert of_label(here, "vanilla").id != of_label(before, "vanilla").id
    assert of_label(here, "dml").id == of_label(before, "dml").id
    assert here.index().digest == ""  # a plan that reads weights is made again, to see whether they have changed


def test_weights_that_change_after_the_plan_fail_the_run(
    first: tuple[Store, Plan], store: Store, train: Train, tmp_path: Path
) -> None:
    trained, before = first
    path = tmp_path / "w.safetensors"
    state = weights(trained, of_label(before, "teacher"))
    save_file(state, path)
    teacher = of_label(plan_with(path, AS_IT_IS), "teacher")
    save_file({key: value + 1 for key, value in state.items()}, path)
    train(store, teacher)
    result = store.result(teacher.id)
    assert result["status"] == "failed"
    assert f"{path}: the weights have changed since the matrix was planned" in result["error"]


def test_the_time_of_inference_needs_no_weights(first: tuple[Store, Plan], store: Store, tmp_path: Path) -> None:
    trained, before = first
    old = of_label(before, "teacher")
    gone = replace(old, student=replace(old.student, weights=str(tmp_path / "gone"), start="0123"))
    key = time_run(gone, store, torch.device("cpu"))
    assert key == trained.result(old.id)["architecture"]
    assert [timing.architecture for timing in read_timings(store.timings)] == [key]


def test_weights_that_do_not_fit_are_refused_by_the_plan(first: tuple[Store, Plan], tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file({"x": torch.ones(1)}, path)
    with pytest.raises(
        MatrixError, match=r"^second\.toml: teacher on digits: .*w\.safetensors: the weights do not fit"
    ):
        plan_with(path, AS_IT_IS)
    with pytest.raises(MatrixError, match=r"^second\.toml: network\.big: .*gone: not found; 'weights' must name"):
        plan_with(tmp_path / "gone", AS_IT_IS)


def weights(store: Store, spec: RunSpec) -> dict[str, torch.Tensor]:
    return load_file(store.folder(spec.id) / "weights.safetensors")


def same(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)
