"""Inference time of deployed networks."""

from dataclasses import replace

import pytest
import torch
from filelock import Timeout

from kdbench.results.table import read_rows
from kdbench.results.timings import read_timings, timing_lock
from kdbench.worker import timing
from kdbench.worker.timing import time_run

CPU = torch.device("cpu")


def test_results_find_their_time_by_architecture(store, plan_of, train):
    """Weights do not matter: the student is timed although its teacher has not been trained."""
    plan = plan_of({"vanilla": {}})
    scratch, vanilla = (next(c.runs[0] for c in plan.cells if c.label == label) for label in ("scratch", "vanilla"))
    train(store, scratch)
    key = time_run(vanilla, store, CPU)
    assert store.result(scratch.id)["architecture"] == key
    (row,) = read_rows(store)
    assert 0 < row["inference_ms"] <= row["inference_ms_p95"]
    assert row["throughput"] > 0
    assert row["timing_threads"] == torch.get_num_threads()
    assert row["timing_processor"] == row["processor"]
    assert (row["timing_device"], row["timing_precision"]) == ("cpu", "fp32")
    assert row["timing_torch_version"] == row["torch_version"]


def test_an_architecture_is_timed_once(store, plan_of):
    (cell, *_) = plan_of({}).cells
    key = time_run(cell.runs[0], store, CPU)
    first = read_timings(store.timings)
    assert [one.architecture for one in first] == [key]
    assert time_run(cell.runs[0], store, CPU) == key
    assert read_timings(store.timings) == first


def test_another_number_of_threads_is_another_measurement(store, plan_of):
    (cell, *_) = plan_of({}).cells
    before = torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            time_run(cell.runs[0], store, CPU)
    finally:
        torch.set_num_threads(before)
    first, second = sorted(read_timings(store.timings), key=lambda one: one.environment.threads)
    assert second.environment == replace(first.environment, threads=2)
    assert first.architecture == second.architecture


@pytest.mark.parametrize(
    ("target", "value"),
    [("kdbench.results.timings.cpu_model", "another"), ("kdbench.results.timings.installed_version", "2.7.1")],
)
def test_another_processor_or_torch_is_another_measurement(store, plan_of, monkeypatch, target, value):
    (cell, *_) = plan_of({}).cells
    time_run(cell.runs[0], store, CPU)
    monkeypatch.setattr(target, lambda *_: value)
    time_run(cell.runs[0], store, CPU)
    assert len({one.environment for one in read_timings(store.timings)}) == 2


def test_measurements_hold_a_lock(store, plan_of, monkeypatch):
    (cell, *_) = plan_of({}).cells
    locked = []
    monkeypatch.setattr(
        timing, "measure_inference", lambda *_: locked.append(is_locked(store)) or {"inference_ms": 1.0}
    )
    time_run(cell.runs[0], store, CPU)
    assert locked == [True]


def is_locked(store):
    try:
        timing_lock(store.timings).acquire(timeout=0)
    except Timeout:
        return True
    return False
