"""The probe logits of a finished run, and their comparison by whoever loads its network as a teacher."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

import kdbench
from kdbench import models
from kdbench.events import RunDone, RunFailed
from kdbench.models import mlp
from kdbench.numerics import NUMERICS
from kdbench.results.integrity import checksums
from kdbench.training.evaluation import compute_logits
from kdbench.worker import probes
from kdbench.worker.build import Teachers
from kdbench.worker.cohort_data import ImageSplit, load_cohort_data
from kdbench.worker.probes import logits_difference

CPU = torch.device("cpu")


@pytest.fixture
def spec(plan_of, store, train):
    """A student whose teacher is finished."""
    plan = plan_of({"vanilla": {}})
    found = next(cell.runs[0] for cell in plan.cells if cell.label == "vanilla")
    train(store, found.teacher)
    return found


def stored_logits(store, spec):
    return load_file(store.folder(spec.id) / "weights.safetensors")["probe_logits"]


def test_a_finished_run_keeps_its_logits_of_64_test_images(spec, store):
    """They are those of the network that is saved, computed here from pixels and weights by hand."""
    data, logits = load_cohort_data(spec.teacher, CPU), stored_logits(store, spec.teacher)
    weights = load_file(store.folder(spec.teacher.id) / "weights.safetensors")
    pixels = (data.test.images[:64].double() / 255).flatten(1)
    hidden = (pixels - data.test.mean[0]) / data.test.std[0] @ weights["student.stages.0.linear.weight"].double().T
    hidden = (hidden + weights["student.stages.0.linear.bias"]).relu()
    expected = hidden @ weights["student.head.weight"].double().T + weights["student.head.bias"]
    torch.testing.assert_close(logits.double(), expected, rtol=1e-4, atol=1e-4)
    assert logits.dtype == torch.float32


def test_with_early_stopping_the_logits_are_those_of_the_weights_that_are_kept(store, plan_of, train):
    recipe = {"epochs": 40, "early_stopping": {"patience": 3}, "optimizer": {"name": "adam", "lr": 0.1}}
    plan = plan_of({}, {**recipe, "schedule": "constant"})
    spec = next(cell.runs[0] for cell in plan.cells if cell.label == "scratch")
    train(store, spec)
    row, data = store.result(spec.id)["row"], load_cohort_data(spec, CPU)
    assert row["best_epoch"] < row["epochs_run"]
    network = Teachers(store, data.task, CPU, test=data.test)(spec)
    (logits,) = [compute_logits(network, data.test.batches())]
    torch.testing.assert_close(stored_logits(store, spec), logits[:64])


def test_fewer_test_images_give_fewer_logits(spec):
    data = load_cohort_data(spec, CPU)
    few = ImageSplit(data.test.images[:5], data.test.labels[:5], data.test.mean, data.test.std)
    network = models.build_from_spec(spec.student, data.task)
    assert probes.probe_logits(network, few).shape == (5, 10)


def end_of(events, spec):
    """Return the only event that ends the run."""
    (event,) = [event for event in events if isinstance(event, RunDone | RunFailed) and event.run == spec.id]
    return event


def test_a_teacher_whose_code_changed_fails_its_students_and_stays_finished(spec, store, train, monkeypatch):
    with monkeypatch.context() as changed:
        forward = mlp.Layer.forward
        changed.setattr(mlp.Layer, "forward", lambda self, maps: [x * 1.05 for x in forward(self, maps)])
        event = end_of(train(store, spec), spec)
    assert isinstance(event, RunFailed)
    row = store.result(spec.teacher.id)["row"]
    version = f"kdbench {kdbench.__version__} ({row['git_commit']}), NUMERICS {NUMERICS}, torch {row['torch_version']}"
    if row["git_commit"] is None:
        version = version.replace(" (None)", "")
    start = f"the trained network of the run {spec.teacher.id} (mlp_12) is no longer the one that was trained: "
    assert event.error.startswith(f"{start}its logits of 64 test images differ by up to ")
    assert f"; it was trained with {version}, and this is {version}; use that version again, or move" in event.error
    assert event.error.endswith("then run `kdbench retry` and the matrix again")
    assert store.state(spec.teacher.id) == "done"
    assert not (store.root / "quarantine").exists()
    assert store.state(spec.id) == "failed"


def test_both_versions_are_named(spec, store, train, monkeypatch):
    monkeypatch.setattr(probes, "NUMERICS", NUMERICS + 1)
    monkeypatch.setattr(probes, "provenance", lambda: {"kdbench_version": "9.9", "torch_version": "8.8"})
    monkeypatch.setattr(mlp.Layer, "forward", lambda self, maps: [self.linear(maps.flatten(1))[:, :, None, None]] * 2)
    error = end_of(train(store, spec), spec).error
    assert f"trained with kdbench {kdbench.__version__}" in error
    assert f"NUMERICS {NUMERICS}, torch {torch.__version__.split('+')[0]}" in error
    assert f"and this is kdbench 9.9, NUMERICS {NUMERICS + 1}, torch 8.8;" in error


def test_a_teacher_whose_layers_were_renamed_is_not_corrupted(spec, store, train, monkeypatch):
    class Renamed(mlp.Stage):
        def __init__(self, inputs, outputs):
            super().__init__()
            self.renamed = torch.nn.Linear(inputs, outputs)

        def forward(self, maps):
            preact = self.renamed(maps.flatten(1))[:, :, None, None]
            return preact.relu(), preact

    monkeypatch.setattr(mlp, "Layer", Renamed)
    error = end_of(train(store, spec), spec).error
    assert "is no longer the one that was trained: its weights do not fit (Error(s) in loading state_dict" in error
    assert store.state(spec.teacher.id) == "done"


def test_other_weights_with_valid_checksums_are_noticed(spec, store, train):
    folder = store.folder(spec.teacher.id)
    tensors = load_file(folder / "weights.safetensors")
    tensors["student.head.bias"] += 0.1
    save_file(tensors, folder / "weights.safetensors")
    result = {**store.result(spec.teacher.id), "files": checksums(folder)}
    store.write_result(spec.teacher.id, {key: value for key, value in result.items() if key != "run_id"})
    assert "differ by up to 0.1" in end_of(train(store, spec), spec).error


def test_an_unchanged_teacher_is_used(spec, store, train):
    assert isinstance(end_of(train(store, spec), spec), RunDone)
    assert store.result(spec.id)["row"]["epochs_run"] == 2


def test_initial_weights_from_a_run_are_not_affected(spec, store, plan_of, train, monkeypatch):
    folder = str(store.folder(spec.teacher.id))
    start = models.resolve_weights(replace(spec.teacher.student, weights=folder))
    tuned = replace(spec.teacher, student=start, seed=5)
    monkeypatch.setattr(probes, "logits_difference", lambda *_: "never called")
    assert isinstance(end_of(train(store, tuned), tuned), RunDone)


@pytest.mark.parametrize(
    ("found", "is_equal"),
    [([[100.0, 1.09]], True), ([[100.0, 1.11]], False), ([[torch.nan, 1.0]], False), ([[100.0, 1.0, 0.0]], False)],
)
def test_the_tolerance_is_relative_to_the_largest_logit(found, is_equal):
    assert (logits_difference(torch.tensor(found), torch.tensor([[100.0, 1.0]])) is None) is is_equal


def test_small_logits_have_an_absolute_tolerance():
    assert logits_difference(torch.tensor([[0.0009]]), torch.tensor([[0.0]])) is None
    assert logits_difference(torch.tensor([[0.0011]]), torch.tensor([[0.0]])) is not None
    assert logits_difference(torch.tensor([[0.0]]), None) == "its file has no logits to compare with"
