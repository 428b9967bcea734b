"""Worker processes that run shell scripts."""

import itertools
import json
import os
import platform
import select
import sys
import time
from pathlib import Path

import pytest
from processes import has_exited

from kdbench.errors import KdbenchError
from kdbench.events import EpochEnded, JobEnded, RunsGivenAway, WarningIssued, WorkerReady, to_json
from kdbench.queue.devices import Slot
from kdbench.queue.executors.base import Job
from kdbench.queue.executors.worker_process import WorkerProcess

READY, EPOCH, ENDED = (
    json.dumps(to_json(event)) for event in (WorkerReady(), EpochEnded((), 1, 2, 0.5, None, 1.0), JobEnded(7))
)
SLOT = Slot("cpu", 3, {"CUDA_VISIBLE_DEVICES": "GPU-a"})


@pytest.fixture
def script(tmp_path, store, monkeypatch):
    """`script(text)`: a worker that runs a shell script."""
    started = []

    def make(text):
        file = tmp_path / "python"
        file.write_text(f"#!/bin/sh\n{text}\n")
        file.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(file))
        started.append(WorkerProcess(SLOT, store))
        return started[-1]

    yield make
    for worker in started:
        worker.kill()
        worker.wait(time.monotonic())


def read_events(worker, count=None):
    """Return the first `count` events, or all until the worker ends."""
    events = []
    while count is None or len(events) < count:
        select.select([worker.output], [], [], 0.2)
        events += worker.read_events()
        if worker.has_ended:
            break
    return events


def test_a_worker_gets_its_slot_and_paths_as_arguments(script, store):
    worker = script("""echo '{"event": "WarningIssued", "text": "'"$@"'", "run": "'$OMP_NUM_THREADS'"}'""")
    (event,) = read_events(worker)
    command = f"-P -m kdbench.worker --results {store.root} --device cpu --threads 3 --log {worker.log}"
    assert event == WarningIssued(command, "3")


def test_a_worker_gets_the_environment_of_this_process_its_slot_and_the_import_path(script, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", ["", str(tmp_path), "relative"])
    monkeypatch.setenv("MINE", "1")
    worker = script(
        """echo '{"event": "WarningIssued", "text": "'$PYTHONPATH'", "run": "'$MINE$CUDA_VISIBLE_DEVICES'"}'"""
    )
    (event,) = read_events(worker)
    assert event.text == os.pathsep.join([str(Path.cwd()), str(tmp_path), "relative"])
    assert event.run == "1GPU-a"


def test_a_job_is_one_line_of_json_until_it_ends(script, queued, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    worker = script(f"""read -r job; echo "$job" > job.json; echo '{ENDED}'; read job""")
    job = Job(7, (queued("a").spec,), options={"checkpoint_minutes": 2.0})
    worker.start(job)
    assert worker.job is job
    assert read_events(worker, 1) == [JobEnded(7)]
    assert json.loads((tmp_path / "job.json").read_text()) == {
        "id": 7,
        "train": [job.specs[0].to_json()],
        "options": {"checkpoint_minutes": 2.0},
    }
    assert worker.job is None


def test_a_request_to_give_runs_away_is_one_line_of_json(script, queued, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    worker = script(f"""read job; read -r line; echo "$line" > line.json; echo '{ENDED}'; read job""")
    job = Job(7, (queued("a").spec, queued("b").spec))
    worker.give_away(job.runs[:1])  # it has no job
    worker.start(job)
    worker.give_away(job.runs[1:])
    read_events(worker, 1)
    assert json.loads((tmp_path / "line.json").read_text()) == {"give_away": [job.runs[1]], "job": 7}


def test_the_output_of_a_worker_is_not_copied_into_the_logs_of_runs_that_it_gave_away(script, queued, store):
    job = Job(7, (queued("a").spec, queued("b").spec))
    given, kept = job.runs
    event = json.dumps(to_json(RunsGivenAway(7, (given,), 1)))
    worker = script(f"""read job; echo noise >&2; echo '{event}'; read job""")
    worker.start(job)
    assert worker.runs == job.runs
    read_events(worker, 1)
    assert worker.runs == (kept,)
    worker.copy_log()
    assert "noise" in (store.folder(kept) / "log.txt").read_text()
    assert not (store.folder(given) / "log.txt").exists()


def test_a_timing_job_has_one_spec(queued):
    spec = queued("a").spec
    assert Job(1, (spec,), "time").to_json() == {"id": 1, "time": spec.to_json()}


def test_a_worker_has_trained_after_an_epoch_of_its_job(script, queued):
    worker = script(f"""echo '{READY}'; read job; echo '{EPOCH}'; echo '{ENDED}'; read job""")
    read_events(worker, 1)
    assert (worker.is_ready, worker.has_trained) == (True, False)
    worker.start(Job(1, (queued("a").spec,)))
    read_events(worker, 2)
    assert worker.has_trained
    worker.start(Job(2, (queued("b").spec,)))
    assert not worker.has_trained


def test_an_incomplete_line_is_kept_until_it_is_complete(script, queued):
    worker = script("""printf '{"event": "WorkerReady"}\\n{"eve'; read job; printf 'nt": "JobEnded", "job": 1}\\n'""")
    assert read_events(worker, 1) == [WorkerReady()]
    worker.start(Job(1, (queued("a").spec,)))
    assert read_events(worker) == [JobEnded(1)]


def test_the_reason_of_a_death_has_the_exit_status_and_the_end_of_the_log(script):
    worker = script("for i in 1 2 3 4 5 6 7; do echo line $i >&2; done; exit 3")
    assert read_events(worker) == []
    assert worker.death_reason().startswith("the worker died (exit status 3); last lines of its log ")
    assert worker.death_reason().endswith(": line 3 | line 4 | line 5 | line 6 | line 7")


def test_the_reason_of_a_kill_is_the_signal(script):
    worker = script("kill -9 $$")
    assert read_events(worker) == []
    assert worker.death_reason() == f"the worker died (signal 9); last lines of its log {worker.log}: (empty)"


def test_starting_a_job_on_a_dead_worker_is_no_error(script, queued):
    worker = script("exit 1")
    assert read_events(worker) == []
    worker.death_reason()
    worker.start(Job(1, (queued("a").spec,)))
    assert worker.read_events() == []
    assert worker.has_ended
    worker.wait(time.monotonic())
    assert worker.output.closed


def test_terminate_ends_a_worker(script):
    worker = script("sleep 60")
    worker.terminate()
    worker.wait(time.monotonic() + 20)
    assert worker.death_reason().startswith("the worker died (signal 15)")


def test_a_worker_that_ignores_sigterm_is_killed(script):
    worker = script("trap '' TERM; echo '{\"event\": \"WorkerReady\"}'; while :; do sleep 0.1; done")
    read_events(worker, 1)
    worker.terminate()
    worker.wait(time.monotonic() + 0.2)
    assert worker.death_reason().startswith("the worker died (signal 9)")


def test_a_child_that_keeps_the_output_open_does_not_hide_the_death_and_dies_too(script):
    worker = script('sleep 60 & echo \'{"event": "JobEnded", "job": \'$!\'}\'; exit 3')
    (event,) = read_events(worker)
    assert worker.death_reason().startswith("the worker died (exit status 3)")
    assert has_exited(event.job)


def test_names_of_logs_contain_the_host_and_differ(script):
    first, second = script("exit 0"), script("exit 0")
    assert first.log.name.startswith(f"{platform.node()}-{os.getpid()}-")
    assert first.log != second.log


def test_the_log_of_an_older_worker_is_never_overwritten(script, store, monkeypatch):
    monkeypatch.setattr("kdbench.queue.executors.worker_process._numbers", itertools.count(1))
    older = store.root / "workers" / f"{platform.node()}-{os.getpid()}-1.log"
    older.parent.mkdir()
    older.write_text("before the reboot, with the same process id\n")
    worker = script("echo new >&2")
    read_events(worker)
    assert worker.log.name.endswith("-2.log")
    assert worker.log.read_text() == "new\n"
    assert older.read_text() == "before the reboot, with the same process id\n"


def test_a_process_that_cannot_start_is_an_error(store, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    with pytest.raises(KdbenchError, match=r"^cannot start a worker process \(.*No such file.*; lower run.workers$"):
        WorkerProcess(SLOT, store)
