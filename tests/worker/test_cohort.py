"""Train a cohort, end to end."""

import math
import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from kdbench.events import EpochEnded, RunDone, RunFailed, WarningIssued
from kdbench.results import Store
from kdbench.worker import build, cohort
from kdbench.worker.build import load_trained_weights

METHODS = {
    "vanilla": {},
    "rkd_da": {},
    "fitnets": {},
    "dml": {},
    "snapshot": {"cycles": 2},
    "scratch": {},
}


def weights(store, spec):
    return load_file(store.folder(spec.id) / "weights.safetensors")


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


def by_label(plan):
    return {"teacher" if cell.kind == "teacher" else cell.label: cell.runs[0] for cell in plan.cells}


@pytest.fixture(scope="module")
def together(tmp_path_factory, plan_of, train):
    """Six methods in one cohort: the specs by label, the store, the frozen networks, the events."""
    store, frozen, load = Store(tmp_path_factory.mktemp("together")), [], build.Teachers.__call__
    specs = by_label(plan_of(METHODS, pair=("cnn_6_6", "cnn_4_4")))
    train(store, specs.pop("teacher"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build.Teachers, "__call__", lambda self, spec: (frozen.append(load(self, spec)), frozen[-1])[1])
        events = train(store, *specs.values())
    return specs, store, frozen, events


@pytest.mark.parametrize("label", METHODS)
def test_a_run_has_the_same_weights_alone_and_in_a_cohort(together, tmp_path, train, label):
    specs, store, _, _ = together
    other = Store(tmp_path)
    if specs[label].teacher:
        shutil.copytree(store.folder(specs[label].teacher.id), other.folder(specs[label].teacher.id))
    train(other, specs[label])
    assert same(weights(other, specs[label]), weights(store, specs[label]))
    alone, in_cohort = (s.result(specs[label].id)["row"] for s in (other, store))
    assert (alone["test_nll"], alone["val_nll_best"]) == (in_cohort["test_nll"], in_cohort["val_nll_best"])
    assert (alone["cohort_size"], in_cohort["cohort_size"]) == (1, len(METHODS))


def test_the_methods_of_a_cohort_have_different_results(together):
    specs, store, _, _ = together
    losses = {label: store.result(spec.id)["row"]["test_nll"] for label, spec in specs.items() if label != "snapshot"}
    assert len(set(losses.values())) == len(losses)


def test_a_shared_teacher_is_loaded_once_and_does_not_change(together):
    specs, store, frozen, _ = together
    assert len({id(network) for network in frozen}) == 1
    on_disk = load_trained_weights(store, specs["vanilla"].teacher.id)
    assert same(frozen[0].network.state_dict(), on_disk)


def test_every_epoch_and_every_finished_run_is_emitted(together):
    specs, _, _, events = together
    epochs = [event for event in events if isinstance(event, EpochEnded)]
    assert [(event.epoch, event.epochs) for event in epochs] == [(1, 2), (2, 2)]
    for event in epochs:
        assert event.runs == tuple(spec.id for spec in specs.values())
        assert 0 <= event.val_accuracy <= 1
        assert event.loss > 0
        assert event.seconds_left >= 0
    assert {event.run for event in events if isinstance(event, RunDone)} == {spec.id for spec in specs.values()}


def test_different_seeds_give_different_weights(together, tmp_path, train):
    specs, store, _, _ = together
    other = replace(specs["scratch"], seed=1)
    train(Store(tmp_path), other)
    assert not same(weights(Store(tmp_path), other), weights(store, specs["scratch"]))


@pytest.fixture
def shared_teachers(monkeypatch):
    """The frozen networks whose outputs the loop computes for every batch."""
    networks, make = [], cohort.CohortLoop

    def record_teachers(members, batches, teachers, *others):
        networks.extend(teachers)
        return make(members, batches, teachers, *others)

    monkeypatch.setattr(cohort, "CohortLoop", record_teachers)
    return networks


def test_born_again_generations_train_in_sequence(store, plan_of, train, shared_teachers):
    plan = plan_of({"born_again": {"generations": 2}})
    last = by_label(plan)["born_again"]
    chain = [run for run in plan.runs if run.student.name == "mlp_8"]
    assert [(run.method, run.hyperparameters.get("generations")) for run in chain] == [
        ("scratch", None),
        ("born_again", 1),
        ("born_again", 2),
    ]
    for run in chain:
        shared_teachers.clear()
        train(store, run)
    assert last.id == chain[-1].id
    assert dict(last.needs).keys() == {"teacher", "teachers.0"}
    (teacher,) = shared_teachers
    assert same(teacher.network.state_dict(), load_trained_weights(store, chain[1].id))
    result = store.result(last.id)
    assert 0 <= result["deployed"]["ensemble"]["test_accuracy"] <= 1
    members = weights(store, last)
    oldest = load_trained_weights(store, chain[0].id)
    assert all(torch.equal(members[f"ensemble.members.0.network.{key}"], value) for key, value in oldest.items())


class Unreadable:
    """Training images that raise an error when they are read."""

    def __getattr__(self, name):
        raise AssertionError(f"the training images were read: {name}")


def test_zero_shot_transfer_reads_no_training_images(store, plan_of, train, shared_teachers, monkeypatch):
    recipe = {"batch_size": 10, "steps_per_epoch": 2, "train_samples": 50}
    specs = by_label(plan_of({"zskt": {"student_steps": 1}}, recipe))
    train(store, specs["teacher"])
    load = cohort.load_cohort_data
    monkeypatch.setattr(cohort, "load_cohort_data", lambda *arguments: replace(load(*arguments), train=Unreadable()))
    shared_teachers.clear()
    train(store, specs["zskt"])
    result = store.result(specs["zskt"].id)
    assert result["status"] == "done", result.get("error")
    assert result["row"]["epochs_run"] == 2
    assert shared_teachers == []


def test_scratch_reads_the_training_images(store, plan_of, train, monkeypatch):
    """Otherwise the test above could not fail."""
    load = cohort.load_cohort_data
    monkeypatch.setattr(cohort, "load_cohort_data", lambda *arguments: replace(load(*arguments), train=Unreadable()))
    with pytest.raises(AssertionError, match="the training images were read: images"):
        train(store, by_label(plan_of({}))["scratch"])


def test_only_a_run_whose_teacher_is_corrupted_is_pending(store, plan_of, train):
    specs = by_label(plan_of({"vanilla": {}}))
    teacher, vanilla, scratch = specs["teacher"].id, specs["vanilla"], specs["scratch"]
    train(store, specs["teacher"])
    file = store.folder(teacher) / "weights.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    events = train(store, vanilla, scratch)
    assert [type(event) for event in events if not isinstance(event, EpochEnded)] == [WarningIssued, RunDone]
    assert f"the run {teacher} is corrupted: weights.safetensors does not match its checksum" in events[0].text
    assert [store.state(run) for run in (teacher, vanilla.id, scratch.id)] == ["pending", "pending", "done"]
    assert (store.root / "quarantine" / f"{teacher}-1" / "weights.safetensors").read_bytes() == content
    assert store.result(scratch.id)["row"]["cohort_size"] == 1
    train(store, specs["teacher"])
    train(store, vanilla)
    assert [store.state(run) for run in (teacher, vanilla.id)] == ["done", "done"]


def test_a_run_whose_teacher_is_not_finished_is_not_trained(store, plan_of, train):
    specs = by_label(plan_of({"vanilla": {}}))
    (event,) = train(store, specs["vanilla"])
    assert event.run == specs["vanilla"].id
    assert event.text == f"the run {specs['teacher'].id} is no longer finished; runs that need it are pending"
    assert store.state(specs["vanilla"].id) == "pending"


def test_a_nan_loss_fails_its_run_only_and_names_epoch_and_term(store, plan_of, train):
    sgd = {"name": "sgd", "lr": 1e30, "momentum": 0.0, "weight_decay": 0.0}
    good = by_label(plan_of({}))["scratch"]
    bad = by_label(plan_of({}, {"optimizer": sgd}))["scratch"]
    events = train(store, good, bad)
    assert store.result(bad.id)["status"] == "failed"
    assert store.result(bad.id)["error"].startswith("epoch 1: loss.ce became NaN or infinite; lower the learning rate")
    assert store.result(good.id)["status"] == "done"
    losses = [event.loss for event in events if isinstance(event, EpochEnded)]
    assert len(losses) == 2
    assert all(map(math.isfinite, losses))
    assert "Traceback" not in store.result(bad.id)["error"]


def test_non_finite_test_outputs_fail_the_run(store, plan_of, train):
    """No loss is NaN and there is no validation: only the test images show that the last step broke the weights."""
    sgd = {"name": "sgd", "lr": 1e38, "momentum": 0.0, "weight_decay": 0.0}
    recipe = {"optimizer": sgd, "schedule": "constant", "epochs": 1, "batch_size": 100}
    bad = by_label(plan_of({}, recipe, {"validation": 0.0}))["scratch"]
    train(store, bad)
    assert store.result(bad.id)["error"].startswith("the trained network's outputs are NaN or infinite; lower the lear")


def test_a_network_that_fails_in_evaluation_fails_its_run(store, plan_of, train, monkeypatch):
    def failing(*arguments):
        raise RuntimeError("only in eval mode")

    spec = by_label(plan_of({}, protocol={"validation": 0.0}))["scratch"]
    monkeypatch.setattr("kdbench.worker.run_writer.compute_logits", failing)
    events = train(store, spec)
    assert store.result(spec.id)["error"] == "RuntimeError: only in eval mode"
    assert events[-1] == RunFailed(spec.id, "RuntimeError: only in eval mode")
    assert "Traceback" in (store.folder(spec.id) / "log.txt").read_text()
