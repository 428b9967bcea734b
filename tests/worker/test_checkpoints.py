"""A cohort that is cut off and goes on: the numbers are those of an undisturbed one."""

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from kdbench.events import EpochEnded, RunResumed, WarningIssued
from kdbench.results import Store, checkpoints
from kdbench.worker.cohort import CohortWorker
from kdbench.worker.options import Options

CPU = torch.device("cpu")
METHODS = {"vanilla": {}, "fitnets": {}, "dml": {}, "snapshot": {"cycles": 2}, "scratch": {}}
RECIPE = {"epochs": 4, "schedule": {"name": "plateau", "patience": 0}, "augment": ["translate"]}
TIMES = {"train_seconds", "peak_memory_mb", "started", "finished", "cohort_size", "attempts"}


class CutError(Exception):
    """Somebody pulls the plug."""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, plan_of):
    """The specs, the teacher first, and a store in which they were trained in one go."""
    plan = plan_of(METHODS, RECIPE, pair=("cnn_6_6", "cnn_4_4"))
    specs = sorted(plan.runs, key=lambda run: run.id not in plan.teachers)
    store = Store(tmp_path_factory.mktemp("undisturbed"))
    for cohort in (specs[:1], specs[1:]):
        CohortWorker(cohort, store, CPU, lambda event: None).train()
    return specs, store


def train(store, specs, minutes=0.0, until=None, **options):
    """Train a cohort; when epoch `until` ends, but before it is saved, the plug is pulled."""
    events = []

    def report(event):
        events.append(event)
        if isinstance(event, EpochEnded) and event.epoch == until:
            raise CutError

    run = CohortWorker(specs, store, CPU, report, Options(minutes, **options))
    if until is None:
        run.train()
    else:
        with pytest.raises(CutError):
            run.train()
    return events


def assert_same(specs, one, other):
    for spec in specs:
        first, second = (load_file(store.folder(spec.id) / "weights.safetensors") for store in (one, other))
        assert first.keys() == second.keys()
        assert all(torch.equal(first[key], second[key]) for key in first), spec.method
        rows = [store.result(spec.id)["row"] for store in (one, other)]
        assert rows[0].keys() == rows[1].keys()
        assert {k: v for k, v in rows[0].items() if k not in TIMES} == {
            k: v for k, v in rows[1].items() if k not in TIMES
        }
        histories = [
            pq.read_table(store.folder(spec.id) / "history.parquet").drop(["seconds"]) for store in (one, other)
        ]
        assert histories[0].equals(histories[1])


def test_cut_off_again_and_again_a_cohort_gives_the_same_numbers(undisturbed, tmp_path):
    specs, whole = undisturbed
    store = Store(tmp_path)
    train(store, specs[:1], until=2)
    assert train(store, specs[:1])[0] == RunResumed(specs[0].id, 2)
    for until in (2, 3, 4):
        train(store, specs[1:], until=until)
        assert {store.next_epoch(spec.id) for spec in specs[1:]} == {until - 1}
    events = train(store, specs[1:])
    assert [event.epoch for event in events if isinstance(event, EpochEnded)] == [4]
    assert_same(specs, whole, store)
    for spec in specs:
        assert not [name for name in checkpoints.NAMES if (store.folder(spec.id) / name).exists()]


def test_members_that_are_unequally_far_are_trained_each_to_its_end(undisturbed, tmp_path):
    specs, whole = undisturbed
    store = Store(tmp_path)
    train(store, specs[:1])
    train(store, specs[1:3], until=3)
    train(store, specs[3:4], until=2)
    train(store, specs[1:])
    assert_same(specs, whole, store)


@pytest.mark.parametrize(("corrupted", "epoch"), [(1, 1), (2, 0)])
def test_a_corrupted_checkpoint_is_passed_over_with_a_warning(undisturbed, tmp_path, corrupted, epoch):
    specs, whole = undisturbed
    store = Store(tmp_path)
    train(store, specs[:1], until=3)
    for name in checkpoints.NAMES[:corrupted]:
        path = store.folder(specs[0].id) / name
        path.write_bytes(path.read_bytes()[:-1] + b"X")
    events = train(store, specs[:1])
    warnings = [event.text for event in events if isinstance(event, WarningIssued)]
    assert [text.split(";")[0] for text in warnings] == [
        f"{name} is corrupted" for name in checkpoints.NAMES[:corrupted]
    ]
    assert "warning: checkpoint.pt is corrupted" in (store.folder(specs[0].id) / "log.txt").read_text()
    assert next(event.epoch for event in events if isinstance(event, EpochEnded)) == epoch + 1
    assert_same(specs[:1], whole, store)


def test_a_corrupted_checkpoint_does_not_take_the_place_of_a_whole_one(undisturbed, tmp_path):
    """It passes for whole by its size, until its content is read."""
    specs, whole = undisturbed
    store = Store(tmp_path)
    train(store, specs[:1], until=3)
    newest = store.folder(specs[0].id) / checkpoints.NAMES[0]
    newest.write_bytes(newest.read_bytes()[:-1] + b"X")
    train(store, specs[:1], until=3)
    kept = [head and head.epoch for _, head, _ in checkpoints.read(store.folder(specs[0].id))]
    assert kept == [2, 1]
    train(store, specs[:1])
    assert_same(specs[:1], whole, store)


def test_checkpoints_are_written_only_when_due(undisturbed, tmp_path):
    specs, _ = undisturbed
    store = Store(tmp_path)
    train(store, specs[:1], minutes=5, until=4)
    assert store.next_epoch(specs[0].id) == 0


def test_another_machines_checkpoint_is_gone_on_from_with_a_warning(undisturbed, tmp_path, monkeypatch):
    specs, _ = undisturbed
    store = Store(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(torch, "__version__", "1.0")
        train(store, specs[:1], until=3)
    (warning,) = [event.text for event in train(store, specs[:1]) if isinstance(event, WarningIssued)]
    assert warning == (
        f"goes on from a checkpoint made otherwise (torch 1.0 is now {torch.__version__}): numbers may differ"
    )


def test_a_checkpoint_of_a_run_that_was_not_compiled_is_gone_on_from_with_a_warning(undisturbed, tmp_path):
    specs, _ = undisturbed
    store = Store(tmp_path)
    train(store, specs[:1], until=3)
    (warning,) = [event.text for event in train(store, specs[:1], compile=True) if isinstance(event, WarningIssued)]
    assert warning == "goes on from a checkpoint made otherwise (compile False is now True): numbers may differ"


def test_what_a_processor_does_not_record_goes_on_without_a_warning(undisturbed, tmp_path):
    specs, whole = undisturbed
    store = Store(tmp_path)
    train(store, specs[:1], until=3)
    events = train(store, specs[:1], cuda_graphs=True)
    assert [event for event in events if isinstance(event, WarningIssued)] == []
    assert_same(specs[:1], whole, store)
