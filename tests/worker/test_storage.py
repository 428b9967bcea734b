"""A disk that fails while a worker trains: the job fails, and no run does."""

import errno
import os

import pytest
import torch

import kdbench
from kdbench.errors import StorageError
from kdbench.events import JobFailed
from kdbench.methods.baseline.scratch import Scratch
from kdbench.worker.cohort import CohortWorker
from kdbench.worker.job_runner import JobRunner
from kdbench.worker.remote import run_remote_job

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class SafetensorError(Exception):
    """As that of safetensors, which is no OSError."""


@pytest.fixture
def spec(plan_of):
    return next(cell.runs[0] for cell in plan_of({}).cells if cell.label == "scratch")


def raising(error):
    def call(*arguments, **options):
        raise error

    return call


@pytest.mark.parametrize(
    ("target", "error"),
    [
        ("kdbench.worker.run_writer.write_bytes", FULL),
        ("kdbench.worker.run_writer.save", SafetensorError("I/O error: No space left on device (os error 28)")),
        ("kdbench.worker.run_writer.compute_logits", OSError(errno.EIO, os.strerror(errno.EIO))),
        ("kdbench.worker.cohort.build_method", OSError(errno.EMFILE, os.strerror(errno.EMFILE))),
        ("kdbench.worker.cohort.load_cohort_data", OSError(errno.ESTALE, os.strerror(errno.ESTALE))),
    ],
)
def test_a_run_is_not_blamed_for_the_disk(tmp_path, store, spec, monkeypatch, target, error):
    with monkeypatch.context() as patch:
        patch.setattr(target, raising(error))
        events = []
        runner = JobRunner(str(store.root), "cpu", torch.get_num_threads(), None, events.append)
        runner.run_job({"id": 1, "train": [spec.to_json()]})
    assert isinstance(events[-1], JobFailed)
    assert "finished runs are kept" in events[-1].error
    assert store.state(spec.id) == "pending"
    runner.run_job({"id": 2, "train": [spec.to_json()]})
    assert store.state(spec.id) == "done"


def test_a_method_that_writes_to_a_full_disk_is_not_blamed(store, spec, train, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(Scratch, "steps", raising(OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))))
        with pytest.raises(StorageError, match=r"Disk quota exceeded\); free space or raise the quota"):
            train(store, spec)
    assert store.state(spec.id) == "pending"


def test_a_method_that_looks_for_a_missing_file_fails(store, spec, train, monkeypatch):
    monkeypatch.setattr(Scratch, "steps", raising(FileNotFoundError(errno.ENOENT, "No such file", "my.npy")))
    train(store, spec)
    assert store.state(spec.id) == "failed"


def test_a_checkpoint_that_cannot_be_read_is_kept(store, spec, train, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(CohortWorker, "_finish", raising(FULL))
        with pytest.raises(OSError, match="No space"):
            train(store, spec, checkpoint_minutes=0.0)
    before = store.next_epoch(spec.id)
    assert before > 0
    with monkeypatch.context() as patch:
        patch.setattr("kdbench.results.storage_errors.time.sleep", lambda seconds: None)
        patch.setattr("kdbench.results.checkpoints._read_content", raising(StorageError("cannot be read")))
        with pytest.raises(StorageError, match="cannot be read"):
            train(store, spec)
    assert store.next_epoch(spec.id) == before


def test_a_full_disk_of_another_machine_fails_its_job_and_names_it(spec, monkeypatch):
    job = {"id": 1, "train": [spec.to_json()], "options": {}}
    messages = []
    with monkeypatch.context() as patch:
        patch.setattr("kdbench.worker.run_writer.write_bytes", raising(FULL))
        run_remote_job(kdbench.__version__, job, (), "cpu", torch.get_num_threads(), messages.append)
    failed = messages[-1].event
    assert isinstance(failed, JobFailed)
    assert failed.error.startswith("on ")
    monkeypatch.setattr("kdbench.worker.remote._write_files", raising(FULL))
    with pytest.raises(StorageError, match="No space left"):
        run_remote_job(kdbench.__version__, job, ({"runs/a/spec.json": b"{}"},), "cpu", 1, messages.append)
