"""The local executor with shell scripts as workers: real deaths, hangs and signals."""

import json
import os
import signal
import sys
import threading
import time

import pytest

from kdbench.errors import KdbenchError
from kdbench.events import CohortStarted, EpochEnded, JobEnded, JobStarted, WorkerDied, to_json
from kdbench.queue.costs import CostModel
from kdbench.queue.devices import Slot
from kdbench.queue.executors import local
from kdbench.queue.executors.base import Job
from kdbench.queue.executors.local import LocalExecutor
from kdbench.queue.scheduler import Scheduler
from kdbench.queue.signals import Interrupts
from kdbench.queue.workload import Limits, Workload

READY = """echo '{"event": "WorkerReady"}'\n"""
STARTED = """read job; id=$(expr "$job" : '{"id": \\([0-9]*\\)'); echo '{"event": "JobStarted", "job": '$id'}'\n"""
EPOCH = f"echo '{json.dumps(to_json(EpochEnded((), 1, 2, 0.5, None, 1.0)))}'\n"
ENDED = """echo '{"event": "JobEnded", "job": '$id'}'\n"""
HANG = "sleep 600 & wait\n"
IGNORE_SIGTERM = "trap '' TERM\n"
CPU = [Slot("cpu", 1)]


def workload(runs, store):
    return Workload(runs, CostModel(store, "here"))


@pytest.fixture
def create(tmp_path, store, monkeypatch):
    """`create(script, slots)`: an executor whose workers run a shell script."""
    executors = []

    def make(script, slots=CPU):
        file = tmp_path / "python"
        file.write_text(f"#!/bin/sh\n{script}\n")
        file.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(file))
        executors.append(LocalExecutor(slots, store))
        return executors[-1]

    yield make
    for executor in executors:
        executor.close(kill=True)


def poll_until(executor, kind, seconds=10.0):
    """Return the events up to the first of a kind."""
    events, deadline = [], time.monotonic() + seconds
    while not any(isinstance(event, kind) for event in events):
        assert time.monotonic() < deadline, events
        events += executor.poll(0.1)
    return events


def is_group_alive(worker):
    try:
        os.killpg(worker._process.pid, 0)
    except ProcessLookupError:
        return False
    return True


def have_exited(workers, seconds=5.0):
    """Return whether the process groups of the workers end in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and any(map(is_group_alive, workers)):
        time.sleep(0.02)
    return not any(map(is_group_alive, workers))


def test_a_worker_stays_for_the_next_job(queued, create):
    executor = create(READY + (STARTED + ENDED) * 2 + "read more")
    for number in (1, 2):
        assert executor.free_slots() == 1
        executor.submit(Job(number, (queued("a").spec,)))
        assert executor.free_slots() == 0
        events = poll_until(executor, JobEnded)
        assert events[-2:] == [JobStarted(number), JobEnded(number)]
    assert events[0] == JobStarted(2)  # without WorkerReady: the same worker


def test_started_workers_are_those_that_get_the_jobs(queued, create):
    executor = create(READY + STARTED + ENDED + "read more", CPU * 2)
    executor.start()
    workers = dict(executor._workers)
    assert len(workers) == 2
    executor.start()
    executor.submit(Job(1, (queued("a").spec,)))
    poll_until(executor, JobEnded)
    assert executor._workers == workers


def test_a_started_worker_that_is_stopped_without_a_job_leaves_no_process_and_no_log(queued, create, store):
    executor = create(READY + STARTED + ENDED + "read more", CPU * 2)
    executor.start()
    executor.submit(Job(1, (queued("a").spec,)))
    poll_until(executor, JobEnded)
    used, workers = executor._workers[0], list(executor._workers.values())
    executor.close()
    assert have_exited(workers)
    assert list((store.root / "workers").iterdir()) == [used.log]


def test_a_started_worker_that_prints_and_dies_keeps_its_log(create, store):
    executor = create("echo no torch >&2; exit 1")
    executor.start()
    (worker,) = executor._workers.values()
    worker._process.wait(timeout=10)
    executor.close()
    assert worker.log.read_text() == "no torch\n"


def test_a_death_is_emitted_with_its_job_and_the_worker_is_replaced(queued, create):
    executor = create(READY + STARTED + "echo the end >&2; kill -SEGV $$")
    job = Job(1, (queued("a").spec, queued("b").spec))
    for _ in range(2):
        executor.submit(job)
        died = poll_until(executor, WorkerDied)[-1]
        assert (died.job, died.runs, died.was_ready) == (1, job.runs, True)
        assert died.reason.startswith("the worker died (signal 11); last lines of its log ")
        assert died.reason.endswith(": the end")
        assert executor.free_slots() == 1


def test_the_death_of_an_idle_worker_emits_nothing(queued, create):
    executor = create(READY + STARTED + ENDED + "exit 1")
    executor.submit(Job(1, (queued("a").spec,)))
    poll_until(executor, JobEnded)
    time.sleep(0.2)
    assert executor.poll(0.1) == []
    executor.submit(Job(2, (queued("a").spec,)))
    assert poll_until(executor, JobEnded)[-1] == JobEnded(2)


def test_cancel_kills_a_hanging_worker_and_its_children(queued, create):
    executor = create(IGNORE_SIGTERM + READY + STARTED + HANG)
    executor.submit(Job(1, (queued("a").spec,)))
    poll_until(executor, JobStarted)
    workers = list(executor._workers.values())
    executor.cancel(7)
    assert executor.poll(0.1) == []
    executor.cancel(1)
    assert "signal 9" in poll_until(executor, WorkerDied)[-1].reason
    assert have_exited(workers)


def test_a_hanging_run_fails_with_the_time_limit_as_its_reason(queued, create, store):
    executor = create(READY + STARTED + HANG)
    events, run = [], queued("a")
    Scheduler(workload([run], store), store, executor, events.append, Limits(time_limit=0.3 / 60)).run()
    error = store.result(run.spec.id)["error"]
    assert error.startswith(
        "exceeded run.time_limit (0.005 minutes): the worker died (signal 9); last lines of its log "
    )
    assert sum(isinstance(event, WorkerDied) for event in events) == 2


def test_a_worker_that_cannot_start_is_an_error_after_two_attempts(queued, create, store):
    executor = create("echo 'ImportError: libcudart.so.12' >&2; exit 1")
    runs = [queued(name) for name in "abc"]
    with pytest.raises(
        KdbenchError, match=r"^no worker can start: .*ImportError: libcudart\.so\.12; fix this and rerun"
    ):
        Scheduler(workload(runs, store), store, executor, lambda event: None).run()
    assert {store.state(run.spec.id) for run in runs} == {"pending"}
    log = (store.folder(runs[0].spec.id) / "log.txt").read_text()
    assert log.count("ImportError: libcudart.so.12") == 2


@pytest.mark.slow
@pytest.mark.parametrize(("script", "signals"), [(HANG, 1), (IGNORE_SIGTERM + HANG, 1), (IGNORE_SIGTERM + HANG, 2)])
def test_no_process_outlives_an_interrupt(queued, create, store, monkeypatch, script, signals):
    monkeypatch.setattr(local, "EXIT_SECONDS", 0.5 if signals == 1 else 60.0)
    executor = create(script.replace(HANG, "") + READY + STARTED + EPOCH + HANG, CPU * 2)
    workers, events = [], []

    def interrupt_when_both_train(event):
        events.append(type(event))
        if isinstance(event, EpochEnded) and events.count(EpochEnded) == 2:
            workers.extend(executor._workers.values())
            for number in range(signals):
                threading.Timer(0.1 + 0.3 * number, os.kill, (os.getpid(), signal.SIGTERM)).start()

    runs = [queued("a", "x"), queued("b", "y"), queued("c", "z")]
    start = time.monotonic()
    with Interrupts() as interrupts, pytest.raises(KeyboardInterrupt):
        Scheduler(workload(runs, store), store, executor, interrupt_when_both_train, interrupts=interrupts).run()
    assert time.monotonic() - start < 10
    assert interrupts.is_kill_requested is (signals == 2)
    assert events.count(CohortStarted) == len(workers) == 2
    assert have_exited(workers)
    assert {store.state(run.spec.id) for run in runs} == {"pending"}


GPU = [Slot("cuda", 1, {"CUDA_VISIBLE_DEVICES": "GPU-a"})] * 2


@pytest.mark.parametrize(("is_free", "expected"), [(True, 1), (False, 0)])
def test_a_busy_gpu_has_a_free_slot_once_its_worker_has_trained_and_memory_is_free(
    queued, create, monkeypatch, is_free, expected
):
    checked = []
    monkeypatch.setattr(local, "has_free_memory", lambda gpu: checked.append(gpu) or is_free)
    executor = create(READY + STARTED + "sleep 0.3\n" + EPOCH + HANG, GPU)
    assert executor.free_slots() == 1
    executor.submit(Job(1, (queued("a").spec,)))
    poll_until(executor, JobStarted)
    assert (executor.free_slots(), checked) == (0, [])
    poll_until(executor, EpochEnded)
    assert (executor.free_slots(), checked) == (expected, ["GPU-a"])
    if is_free:
        executor.submit(Job(2, (queued("b").spec,)))
        assert executor.free_slots() == 0


def test_jobs_go_to_different_gpus_first(queued, create):
    executor = create(READY + STARTED + HANG, [Slot("cuda", 1, {"CUDA_VISIBLE_DEVICES": gpu}) for gpu in "abab"])
    assert executor.free_slots() == 2
    for number in (1, 2):
        executor.submit(Job(number, (queued("a").spec,)))
    assert sorted(executor._workers) == [0, 1]
