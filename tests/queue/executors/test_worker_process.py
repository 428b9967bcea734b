"""Worker processes, with small scripts in their place."""

import itertools
import json
import os
import platform
import select
import sys
import time
from pathlib import Path

import pytest

from kdbench.errors import KdbenchError
from kdbench.events import EpochEnded, JobEnded, WarningIssued, WorkerReady, to_json
from kdbench.queue.devices import Slot
from kdbench.queue.executors.base import Job
from kdbench.queue.executors.worker_process import Worker

READY, EPOCH, ENDED = (
    json.dumps(to_json(event)) for event in (WorkerReady(), EpochEnded((), 1, 2, 0.5, None, 1.0), JobEnded(7))
)
SLOT = Slot("cpu", 3, {"CUDA_VISIBLE_DEVICES": "GPU-a"})


@pytest.fixture
def script(tmp_path, store, monkeypatch):
    """`script(text)`: a worker that runs a shell script instead of Python."""
    started = []

    def make(text):
        file = tmp_path / "python"
        file.write_text(f"#!/bin/sh\n{text}\n")
        file.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(file))
        started.append(Worker(SLOT, store))
        return started[-1]

    yield make
    for worker in started:
        worker.kill()
        worker.end(time.monotonic())


def heard(worker, count=None):
    """The first `count` events, or all until the worker ends."""
    found = []
    while count is None or len(found) < count:
        select.select([worker.output], [], [], 0.2)
        found += worker.events()
        if worker.has_ended:
            break
    return found


def test_a_worker_is_told_where_and_how_to_train(script, store):
    worker = script("""echo '{"event": "WarningIssued", "text": "'"$@"'", "run": "'$OMP_NUM_THREADS'"}'""")
    (event,) = heard(worker)
    command = f"-P -m kdbench.worker --results {store.root} --device cpu --threads 3 --log {worker.log}"
    assert event == WarningIssued(command, "3")


def test_a_workers_environment_is_ours_with_the_slots_and_our_import_path(script, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", ["", str(tmp_path), "relative"])
    monkeypatch.setenv("MINE", "1")
    worker = script(
        """echo '{"event": "WarningIssued", "text": "'$PYTHONPATH'", "run": "'$MINE$CUDA_VISIBLE_DEVICES'"}'"""
    )
    (event,) = heard(worker)
    assert event.text == os.pathsep.join([str(Path.cwd()), str(tmp_path), "relative"])
    assert event.run == "1GPU-a"


def test_a_job_is_a_line_and_idle_ends_it(script, item, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    worker = script(f"""read -r job; echo "$job" > job.json; echo '{ENDED}'; read job""")
    job = Job(7, (item("a").spec,), options={"checkpoint_minutes": 2.0})
    worker.begin(job)
    assert worker.job is job
    assert heard(worker, 1) == [JobEnded(7)]
    assert json.loads((tmp_path / "job.json").read_text()) == {
        "id": 7,
        "train": [job.specs[0].to_json()],
        "options": {"checkpoint_minutes": 2.0},
    }
    assert worker.job is None


def test_a_job_that_times_has_one_spec(item):
    spec = item("a").spec
    assert Job(1, (spec,), "time").message() == {"id": 1, "time": spec.to_json()}


def test_a_worker_has_trained_once_it_tells_of_an_epoch_of_its_job(script, item):
    worker = script(f"""echo '{READY}'; read job; echo '{EPOCH}'; echo '{ENDED}'; read job""")
    heard(worker, 1)
    assert (worker.ready, worker.has_trained) == (True, False)
    worker.begin(Job(1, (item("a").spec,)))
    heard(worker, 2)
    assert worker.has_trained
    worker.begin(Job(2, (item("b").spec,)))
    assert not worker.has_trained


def test_a_half_written_line_waits_for_its_other_half(script, item):
    worker = script("""printf '{"event": "WorkerReady"}\\n{"eve'; read job; printf 'nt": "JobEnded", "job": 1}\\n'""")
    assert heard(worker, 1) == [WorkerReady()]
    worker.begin(Job(1, (item("a").spec,)))
    assert heard(worker) == [JobEnded(1)]


def test_a_death_tells_how_and_the_end_of_the_log(script):
    worker = script("for i in 1 2 3 4 5 6 7; do echo line $i >&2; done; exit 3")
    assert heard(worker) == []
    assert worker.death().startswith("the worker died (exit status 3); its log ")
    assert worker.death().endswith("ends: line 3 | line 4 | line 5 | line 6 | line 7")


def test_a_kill_is_told_as_a_signal(script):
    worker = script("kill -9 $$")
    assert heard(worker) == []
    assert worker.death() == f"the worker died (signal 9); its log {worker.log} ends: (empty)"


def test_a_job_for_a_dead_worker_is_no_error(script, item):
    worker = script("exit 1")
    assert heard(worker) == []
    worker.death()
    worker.begin(Job(1, (item("a").spec,)))
    assert worker.events() == []
    assert worker.has_ended
    worker.end(time.monotonic())
    assert worker.output.closed


def test_a_worker_that_is_asked_to_leave_does(script):
    worker = script("sleep 60")
    worker.ask_to_leave()
    worker.end(time.monotonic() + 20)
    assert worker.death().startswith("the worker died (signal 15)")


def test_a_worker_that_does_not_leave_is_killed(script):
    worker = script("trap '' TERM; echo '{\"event\": \"WorkerReady\"}'; while :; do sleep 0.1; done")
    heard(worker, 1)
    worker.ask_to_leave()
    worker.end(time.monotonic() + 0.2)
    assert worker.death().startswith("the worker died (signal 9)")


def test_the_end_of_a_worker_is_seen_although_a_child_keeps_its_output_open_and_the_child_ends_too(script, has_gone):
    worker = script('sleep 60 & echo \'{"event": "JobEnded", "job": \'$!\'}\'; exit 3')
    (event,) = heard(worker)
    assert worker.death().startswith("the worker died (exit status 3)")
    assert has_gone(event.job)


def test_logs_of_workers_bear_the_host_and_differ(script):
    first, second = script("exit 0"), script("exit 0")
    assert first.log.name.startswith(f"{platform.node()}-{os.getpid()}-")
    assert first.log != second.log


def test_the_log_of_an_older_worker_is_never_written_over(script, store, monkeypatch):
    monkeypatch.setattr("kdbench.queue.executors.worker_process._numbers", itertools.count(1))
    older = store.root / "workers" / f"{platform.node()}-{os.getpid()}-1.log"
    older.parent.mkdir()
    older.write_text("before the reboot, with the same process id\n")
    worker = script("echo new >&2")
    heard(worker)
    assert worker.log.name.endswith("-2.log")
    assert worker.log.read_text() == "new\n"
    assert older.read_text() == "before the reboot, with the same process id\n"


def test_a_machine_that_starts_no_process_is_named(store, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    with pytest.raises(KdbenchError, match=r"^no worker process can be started \(.*No such file.*; lower run.workers$"):
        Worker(SLOT, store)
