"""A cohort that is interrupted and resumed has the same numbers as an uninterrupted one."""

import pytest
import torch
from same_runs import assert_same_runs

from kdbench.events import EpochEnded, RunResumed, WarningIssued
from kdbench.results import Store, checkpoints
from kdbench.worker.cohort import CohortWorker
from kdbench.worker.options import Options

CPU = torch.device("cpu")
METHODS = {"vanilla": {}, "fitnets": {}, "dml": {}, "snapshot": {"cycles": 2}, "scratch": {}}
RECIPE = {"epochs": 4, "schedule": {"name": "plateau", "patience": 0}, "augment": ["translate"]}


class CrashError(Exception):
    """Stands for a crash of the worker."""


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, plan_of):
    """The specs, the teacher first, and a store in which they were trained without interruption."""
    plan = plan_of(METHODS, RECIPE, pair=("cnn_6_6", "cnn_4_4"))
    specs = sorted(plan.runs, key=lambda run: run.id not in plan.teachers)
    store = Store(tmp_path_factory.mktemp("uninterrupted"))
    for cohort in (specs[:1], specs[1:]):
        CohortWorker(cohort, store, CPU, lambda event: None).train()
    return specs, store


def train(store, specs, minutes=0.0, until=None, **options):
    """Train a cohort; crash when epoch `until` ends, before its checkpoint."""
    events = []

    def on_event(event):
        events.append(event)
        if isinstance(event, EpochEnded) and event.epoch == until:
            raise CrashError

    run = CohortWorker(specs, store, CPU, on_event, Options(minutes, **options))
    if until is None:
        run.train()
    else:
        with pytest.raises(CrashError):
            run.train()
    return events


def test_a_cohort_interrupted_several_times_has_the_same_numbers(uninterrupted, tmp_path):
    specs, reference = uninterrupted
    store = Store(tmp_path)
    train(store, specs[:1], until=2)
    assert train(store, specs[:1])[0] == RunResumed(specs[0].id, 2)
    for until in (2, 3, 4):
        train(store, specs[1:], until=until)
        assert {store.next_epoch(spec.id) for spec in specs[1:]} == {until - 1}
    events = train(store, specs[1:])
    assert [event.epoch for event in events if isinstance(event, EpochEnded)] == [4]
    assert_same_runs(specs, reference, store)
    for spec in specs:
        assert not [name for name in checkpoints.NAMES if (store.folder(spec.id) / name).exists()]


@pytest.mark.parametrize("gigabytes", [0.0, 1.0])
def test_a_resumed_cohort_bills_all_attempts(tmp_path, plan_of, stop_clock, gigabytes):
    """Every forward pass of the teacher takes 1 s on a clock that stands still otherwise."""
    plan, store = plan_of({"vanilla": {}}, {"epochs": 4}, pair=("cnn_4_8", "mlp_8")), Store(tmp_path)
    teacher, scratch, vanilla = (cell.runs[0] for cell in plan.cells)
    train(store, [teacher])
    stop_clock()
    for until in (2, 4, None):
        train(store, [scratch, vanilla], until=until, teacher_cache_gb=gigabytes)
    seconds = {spec.method: store.result(spec.id)["row"]["train_seconds"] for spec in (scratch, vanilla)}
    assert seconds == {"scratch": 0.0, "vanilla": 4 * 2 * 1.0}


def test_members_resume_from_different_epochs(uninterrupted, tmp_path):
    specs, reference = uninterrupted
    store = Store(tmp_path)
    train(store, specs[:1])
    train(store, specs[1:3], until=3)
    train(store, specs[3:4], until=2)
    train(store, specs[1:])
    assert_same_runs(specs, reference, store)


@pytest.mark.parametrize(("corrupted", "epoch"), [(1, 1), (2, 0)])
def test_a_corrupted_checkpoint_is_skipped_with_a_warning(uninterrupted, tmp_path, corrupted, epoch):
    specs, reference = uninterrupted
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
    assert_same_runs(specs[:1], reference, store)


def test_a_corrupted_checkpoint_does_not_replace_a_valid_one(uninterrupted, tmp_path):
    """Its size is valid; only its content is not."""
    specs, reference = uninterrupted
    store = Store(tmp_path)
    train(store, specs[:1], until=3)
    newest = store.folder(specs[0].id) / checkpoints.NAMES[0]
    newest.write_bytes(newest.read_bytes()[:-1] + b"X")
    train(store, specs[:1], until=3)
    epochs = [head and head.epoch for _, head, _ in checkpoints.read(store.folder(specs[0].id))]
    assert epochs == [2, 1]
    train(store, specs[:1])
    assert_same_runs(specs[:1], reference, store)


def test_checkpoints_are_written_only_when_due(uninterrupted, tmp_path):
    specs, _ = uninterrupted
    store = Store(tmp_path)
    train(store, specs[:1], minutes=5, until=4)
    assert store.next_epoch(specs[0].id) == 0


def environment_changes(store, spec):
    result = store.result(spec.id)
    assert result is not None
    return result["row"]["environment_changes"]


def test_resuming_from_another_version_of_torch_warns(uninterrupted, tmp_path, monkeypatch):
    specs, _ = uninterrupted
    store = Store(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(torch, "__version__", "1.0")
        train(store, specs[:1], until=3)
    (warning,) = [event.text for event in train(store, specs[:1]) if isinstance(event, WarningIssued)]
    assert warning == (
        f"resumes from a checkpoint of another environment (torch was 1.0 and is {torch.__version__}); "
        "its numbers may differ"
    )
    assert environment_changes(store, specs[0]) == f"after epoch 2: torch was 1.0 and is {torch.__version__}"


def test_a_run_that_is_resumed_twice_keeps_the_earlier_change(uninterrupted, tmp_path, monkeypatch):
    specs, _ = uninterrupted
    store = Store(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(torch, "__version__", "1.0")
        train(store, specs[:1], until=2)
    train(store, specs[:1], until=3)
    train(store, specs[:1])
    assert environment_changes(store, specs[0]) == f"after epoch 1: torch was 1.0 and is {torch.__version__}"


def test_a_run_in_one_environment_has_no_changes(uninterrupted, tmp_path):
    specs, _ = uninterrupted
    store = Store(tmp_path)
    train(store, specs[:1], until=2)
    train(store, specs[:1])
    assert environment_changes(store, specs[0]) is None


@pytest.mark.slow
def test_resuming_an_eager_run_with_compile_warns(uninterrupted, tmp_path):
    specs, _ = uninterrupted
    store = Store(tmp_path)
    train(store, specs[:1], until=3)
    (warning,) = [event.text for event in train(store, specs[:1], compile=True) if isinstance(event, WarningIssued)]
    assert (
        warning
        == "resumes from a checkpoint of another environment (compile was False and is True); its numbers may differ"
    )


def test_resuming_with_cuda_graphs_on_a_cpu_does_not_warn(uninterrupted, tmp_path):
    specs, reference = uninterrupted
    store = Store(tmp_path)
    train(store, specs[:1], until=3)
    events = train(store, specs[:1], cuda_graphs=True)
    assert [event for event in events if isinstance(event, WarningIssued)] == []
    assert_same_runs(specs[:1], reference, store)
