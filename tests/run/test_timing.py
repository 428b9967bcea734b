"""Inference time of what was deployed."""

import torch

from kdbench.results.table import rows
from kdbench.run.timing import time_run


def test_the_time_is_found_by_the_results_architecture(store, plan_of, train):
    """Weights do not matter: the student is timed although its teacher was never trained."""
    plan = plan_of({"vanilla": {}})
    scratch, vanilla = (next(c.runs[0] for c in plan.cells if c.label == label) for label in ("scratch", "vanilla"))
    train(store, scratch)
    key = time_run(vanilla, store, torch.device("cpu"))
    assert store.result(scratch.id)["architecture"] == key
    (row,) = rows(store)
    assert 0 < row["inference_ms"] <= row["inference_ms_p95"]
    assert row["throughput"] > 0
