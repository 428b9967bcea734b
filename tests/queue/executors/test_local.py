"""Processes on slots: shell scripts in place of workers, with real deaths, hangs and signals."""

import json
import os
import signal
import sys
import threading
import time

import pytest

from kdbench.errors import KdbenchError
from kdbench.events import CohortStarted, EpochEnded, JobEnded, JobStarted, WorkerDied, to_json
from kdbench.queue.devices import Slot
from kdbench.queue.executors import local
from kdbench.queue.executors.base import Job
from kdbench.queue.executors.local import LocalExecutor
from kdbench.queue.scheduler import Limits, Scheduler
from kdbench.queue.signals import Interrupts

READY = """echo '{"event": "WorkerReady"}'\n"""
BEGUN = """read job; id=$(expr "$job" : '{"id": \\([0-9]*\\)'); echo '{"event": "JobStarted", "job": '$id'}'\n"""
EPOCH = f"echo '{json.dumps(to_json(EpochEnded((), 1, 2, 0.5, None, 1.0)))}'\n"
IDLE = """echo '{"event": "JobEnded", "job": '$id'}'\n"""
HANG = "sleep 600 & wait\n"
CPU = [Slot("cpu", 1)]
DEAF = "trap '' TERM\n"


@pytest.fixture
def place(tmp_path, store, monkeypatch):
    """`place(script, slots)`: workers that run a shell script instead of Python."""
    made = []

    def make(script, slots=CPU):
        file = tmp_path / "python"
        file.write_text(f"#!/bin/sh\n{script}\n")
        file.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(file))
        made.append(LocalExecutor(slots, store))
        return made[-1]

    yield make
    for executor in made:
        executor.close(now=True)


def told(executor, kind, patience=10.0):
    """The events until the first of a kind, which is the last."""
    found, until = [], time.monotonic() + patience
    while not any(isinstance(event, kind) for event in found):
        assert time.monotonic() < until, found
        found += executor.poll(0.1)
    return found


def group_is_gone(executor_workers):
    return all(not members(worker) for worker in executor_workers)


def members(worker):
    try:
        os.killpg(worker._process.pid, 0)
    except ProcessLookupError:
        return False
    return True


def gone_soon(workers, patience=5.0):
    until = time.monotonic() + patience
    while time.monotonic() < until and not group_is_gone(workers):
        time.sleep(0.02)
    return group_is_gone(workers)


def test_a_worker_is_kept_for_the_next_job(item, place):
    executor = place(READY + (BEGUN + IDLE) * 2 + "read more")
    for number in (1, 2):
        assert executor.capacity() == 1
        executor.submit(Job(number, (item("a").spec,)))
        assert executor.capacity() == 0
        events = told(executor, JobEnded)
        assert events[-2:] == [JobStarted(number), JobEnded(number)]
    assert events[0] == JobStarted(2)  # of the same worker, which said before that it was ready


def test_a_death_is_told_with_its_job_and_another_worker_follows(item, place):
    executor = place(READY + BEGUN + "echo the end >&2; kill -SEGV $$")
    job = Job(1, (item("a").spec, item("b").spec))
    for _ in range(2):
        executor.submit(job)
        died = told(executor, WorkerDied)[-1]
        assert (died.job, died.runs, died.was_ready) == (1, job.runs, True)
        assert died.reason.startswith("the worker died (signal 11); its log ")
        assert died.reason.endswith("ends: the end")
        assert executor.capacity() == 1


def test_the_death_of_an_idle_worker_is_nobodys(item, place):
    executor = place(READY + BEGUN + IDLE + "exit 1")
    executor.submit(Job(1, (item("a").spec,)))
    told(executor, JobEnded)
    time.sleep(0.2)
    assert executor.poll(0.1) == []
    executor.submit(Job(2, (item("a").spec,)))
    assert told(executor, JobEnded)[-1] == JobEnded(2)


def test_a_hang_is_killed_with_all_its_children(item, place):
    executor = place(DEAF + READY + BEGUN + HANG)
    executor.submit(Job(1, (item("a").spec,)))
    told(executor, JobStarted)
    workers = list(executor._workers.values())
    executor.cancel(7)
    assert executor.poll(0.1) == []
    executor.cancel(1)
    assert "signal 9" in told(executor, WorkerDied)[-1].reason
    assert gone_soon(workers)


def test_the_time_limit_ends_a_hang_and_its_run_fails_with_that_reason(item, place, store):
    executor = place(READY + BEGUN + HANG)
    events, run = [], item("a")
    Scheduler([run], store, executor, events.append, Limits(time_limit=0.3 / 60)).run()
    error = store.result(run.spec.id)["error"]
    assert error.startswith("ended after run.time_limit (0.005 minutes): the worker died (signal 9); its log ")
    assert sum(isinstance(event, WorkerDied) for event in events) == 2


def test_a_worker_that_cannot_even_start_is_no_endless_loop(item, place, store):
    executor = place("echo 'ImportError: libcudart.so.12' >&2; exit 1")
    runs = [item(name) for name in "abc"]
    with pytest.raises(
        KdbenchError, match=r"^no worker can start: .*ImportError: libcudart\.so\.12; mend that and run"
    ):
        Scheduler(runs, store, executor, lambda event: None).run()
    assert {store.state(run.spec.id) for run in runs} == {"pending"}
    log = (store.folder(runs[0].spec.id) / "log.txt").read_text()
    assert log.count("ImportError: libcudart.so.12") == 2


@pytest.mark.parametrize(("script", "signals"), [(HANG, 1), (DEAF + HANG, 1), (DEAF + HANG, 2)])
def test_an_interrupt_leaves_nobody_behind(item, place, store, monkeypatch, script, signals):
    monkeypatch.setattr(local, "GRACE", 0.5 if signals == 1 else 60.0)
    executor = place(script.replace(HANG, "") + READY + BEGUN + EPOCH + HANG, CPU * 2)
    workers, events = [], []

    def hear(event):
        events.append(type(event))
        if isinstance(event, EpochEnded) and events.count(EpochEnded) == 2:
            workers.extend(executor._workers.values())
            for number in range(signals):
                threading.Timer(0.1 + 0.3 * number, os.kill, (os.getpid(), signal.SIGTERM)).start()

    runs = [item("a", "x"), item("b", "y"), item("c", "z")]
    began = time.monotonic()
    with Interrupts() as interrupts, pytest.raises(KeyboardInterrupt):
        Scheduler(runs, store, executor, hear, interrupts=interrupts).run()
    assert time.monotonic() - began < 10
    assert interrupts.again is (signals == 2)
    assert events.count(CohortStarted) == len(workers) == 2
    assert gone_soon(workers)
    assert {store.state(run.spec.id) for run in runs} == {"pending"}


GPU = [Slot("cuda", 1, {"CUDA_VISIBLE_DEVICES": "GPU-a"})] * 2


@pytest.mark.parametrize(("room", "expected"), [(True, 1), (False, 0)])
def test_a_busy_gpu_takes_one_more_once_its_worker_has_trained_and_while_there_is_room(
    item, place, monkeypatch, room, expected
):
    asked = []
    monkeypatch.setattr(local, "has_free_memory", lambda gpu: asked.append(gpu) or room)
    executor = place(READY + BEGUN + "sleep 0.3\n" + EPOCH + HANG, GPU)
    assert executor.capacity() == 1
    executor.submit(Job(1, (item("a").spec,)))
    told(executor, JobStarted)
    assert (executor.capacity(), asked) == (0, [])
    told(executor, EpochEnded)
    assert (executor.capacity(), asked) == (expected, ["GPU-a"])
    if room:
        executor.submit(Job(2, (item("b").spec,)))
        assert executor.capacity() == 0


def test_gpus_are_filled_side_by_side(item, place):
    executor = place(READY + BEGUN + HANG, [Slot("cuda", 1, {"CUDA_VISIBLE_DEVICES": gpu}) for gpu in "abab"])
    assert executor.capacity() == 2
    for number in (1, 2):
        executor.submit(Job(number, (item("a").spec,)))
    assert sorted(executor._workers) == [0, 1]
