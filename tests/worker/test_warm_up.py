"""A worker is warm before its first job."""

import gc
import json
import subprocess
import sys

import pytest
import torch

from kdbench.training import optimizer
from kdbench.worker.warm_up import warm_up

HEAVY = {"pandas", "torch._dynamo", "torch._inductor", "sympy", "pyarrow.parquet", "safetensors"}
CODE = """
import gc, json, sys
import torch
from kdbench.worker.job_runner import JobRunner
from kdbench.worker.warm_up import warm_up

runner = JobRunner(sys.argv[1], "cpu", 1, None, lambda event: None)
warm_up(torch.device("cpu"))
before = set(sys.modules)
runner.run_job({"id": 1, "train": [json.loads(sys.argv[2])]})
print(json.dumps([sorted(before), sorted(set(sys.modules) - before), gc.get_freeze_count()]))
"""


@pytest.mark.slow
def test_a_first_job_on_the_cpu_imports_nothing_heavy_and_the_compiler_of_torch_never(store, plan_of):
    (spec, *_) = plan_of({}, {"epochs": 1}).runs
    command = [sys.executable, "-c", CODE, str(store.root), json.dumps(spec.to_json())]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    before, during, frozen = json.loads(done.stdout)
    assert store.state(spec.id) == "done"
    assert not HEAVY & set(during)
    assert not {"torch._dynamo", "torch._inductor", "sympy"} & set(before)
    assert len(during) < 20, during
    assert frozen > len(before) * 10


def test_it_also_steps_with_the_fused_optimizer_of_a_gpu(monkeypatch):
    frozen = gc.get_freeze_count()
    monkeypatch.setattr(optimizer, "GRAPH_DEVICES", {"cpu"})
    try:
        warm_up(torch.device("cpu"))
        assert gc.get_freeze_count() > frozen
    finally:
        gc.unfreeze()
    assert "torch._dynamo" in sys.modules  # that optimizer imports it
