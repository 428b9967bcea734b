"""Inference time of deployed networks."""

import torch
from filelock import Timeout

from kdbench.results.table import read_rows
from kdbench.worker import timing
from kdbench.worker.timing import time_run


def test_results_find_their_time_by_architecture(store, plan_of, train):
    """Weights do not matter: the student is timed although its teacher has not been trained."""
    plan = plan_of({"vanilla": {}})
    scratch, vanilla = (next(c.runs[0] for c in plan.cells if c.label == label) for label in ("scratch", "vanilla"))
    train(store, scratch)
    key = time_run(vanilla, store, torch.device("cpu"))
    assert store.result(scratch.id)["architecture"] == key
    (row,) = read_rows(store)
    assert 0 < row["inference_ms"] <= row["inference_ms_p95"]
    assert row["throughput"] > 0


def test_an_architecture_is_timed_once(store, plan_of):
    (cell, *_) = plan_of({}).cells
    key = time_run(cell.runs[0], store, torch.device("cpu"))
    first = store.timing(key)
    assert time_run(cell.runs[0], store, torch.device("cpu")) == key
    assert store.timing(key) == first


def test_measurements_hold_a_lock(store, plan_of, monkeypatch):
    (cell, *_) = plan_of({}).cells
    locked = []
    monkeypatch.setattr(
        timing, "measure_inference", lambda *_: locked.append(is_locked(store)) or {"inference_ms": 1.0}
    )
    time_run(cell.runs[0], store, torch.device("cpu"))
    assert locked == [True]


def is_locked(store):
    try:
        store.timing_lock().acquire(timeout=0)
    except Timeout:
        return True
    return False
