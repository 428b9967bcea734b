"""The worker process: it must not outlive the process that started it."""

import json
import re
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from processes import has_exited

from kdbench.events import EpochEnded, JobStarted, WorkerReady, from_json, to_json

pytestmark = pytest.mark.slow
TIMEOUT = 60


def test_a_worker_exits_at_the_end_of_its_standard_input(store, plan_of):
    (spec, *_) = plan_of({}, {"epochs": 100_000}).runs
    command = [sys.executable, "-m", "kdbench.worker", "--results", store.root, "--device", "cpu", "--threads", "1"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as worker:
        worker.stdin.write(json.dumps({"id": 1, "train": [spec.to_json()]}) + "\n")
        worker.stdin.flush()
        ready, started, epoch = (from_json(json.loads(worker.stdout.readline())) for _ in range(3))
        assert (ready, started) == (WorkerReady(), JobStarted(1))
        assert isinstance(epoch, EpochEnded)
        assert (epoch.epoch, epoch.runs) == (1, (spec.id,))
        assert store.state(spec.id) == "running"
        closed = time.monotonic()
        worker.stdin.close()
        assert worker.wait(timeout=TIMEOUT) == 0
        assert time.monotonic() - closed < 5
    assert store.state(spec.id) == "pending"


HANG = """
import ctypes
import subprocess
from typing import final
from kdbench import Method, Step

@final
class Hang(Method):
    paper = "none"

    def __init__(self, student, teacher=None):
        super().__init__()
        self.student = student

    def steps(self, batch):
        child = subprocess.Popen(["sleep", "600"])
        print("child", child.pid, flush=True)
        ctypes.PyDLL(None).sleep(600)  # holds the interpreter lock: no other thread runs
        yield Step({"ce": self.student(batch.images).logits.square().mean()})

    def players(self):
        return {"student": self.student}

    def deployed(self):
        return {"student": self.student}
"""


def test_the_watchdog_kills_a_worker_that_holds_the_interpreter_lock_and_its_children(
    store, plan_of, tmp_path, monkeypatch
):
    (tmp_path / "hang_methods.py").write_text(HANG)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{Path.cwd()}")
    plan = plan_of({"hang": {"method": "hang_methods:Hang"}})
    spec = replace(next(cell.runs[0] for cell in plan.cells if cell.label == "hang"), needs=())
    command = [sys.executable, "-m", "kdbench.worker", "--results", store.root, "--device", "cpu", "--threads", "1"]
    with (
        (tmp_path / "log").open("wb") as log,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, start_new_session=True
        ) as worker,
    ):
        worker.stdin.write(json.dumps({"id": 1, "train": [spec.to_json()]}).encode() + b"\n")
        worker.stdin.flush()
        child = child_in(tmp_path / "log")
        closed = time.monotonic()
        worker.stdin.close()
        assert worker.wait(timeout=TIMEOUT) == -9
        assert time.monotonic() - closed < 10
    assert has_exited(child)


def child_in(log):
    """Return the process id that the hanging method prints, once it is in the log."""
    deadline = time.monotonic() + TIMEOUT
    while not (found := re.search(r"child (\d+)\n", log.read_text())):
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)
    return int(found[1])


def test_an_unexpected_exception_ends_the_worker_with_a_traceback(store):
    command = [sys.executable, "-m", "kdbench.worker", "--results", store.root, "--device", "cpu", "--threads", "1"]
    job = json.dumps({"id": 1, "train": [{}]}) + "\n"
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as worker:
        worker.stdin.write(job)
        worker.stdin.flush()
        assert worker.wait(timeout=TIMEOUT) == 1
        events = [json.loads(line) for line in worker.stdout.read().splitlines()]
        assert events == [to_json(WorkerReady()), to_json(JobStarted(1))]
        assert worker.stderr.read().strip().endswith("KeyError: 'dataset'")
