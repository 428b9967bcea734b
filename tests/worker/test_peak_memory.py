"""The peak memory of a cohort, without what earlier cohorts of the worker needed."""

from pathlib import Path

import pytest
import torch

from kdbench.results import Store
from kdbench.worker import cohort, peak_memory
from kdbench.worker.peak_memory import CLEAR_REFS, peak_memory_mb, reset_peak_memory

CPU = torch.device("cpu")
needs_linux = pytest.mark.skipif(not CLEAR_REFS.exists(), reason="needs Linux")


@needs_linux
def test_a_reset_drops_the_earlier_peak():
    reset_peak_memory(CPU)
    before = peak_memory_mb(CPU)
    allocated = torch.ones(64 * 2**20)  # 256 MiB
    assert peak_memory_mb(CPU) > before + 200
    del allocated
    assert peak_memory_mb(CPU) > before + 200
    reset_peak_memory(CPU)
    assert peak_memory_mb(CPU) < before + 100


@needs_linux
def test_the_peak_of_a_run_does_not_include_earlier_cohorts(tmp_path, plan_of, train):
    run, store = plan_of({}).runs[0], Store(tmp_path)
    large = torch.ones(128 * 2**20)  # 512 MiB
    during = peak_memory_mb(CPU)
    del large
    train(store, run)
    assert store.result(run.id)["row"]["peak_memory_mb"] < during - 200


def test_without_a_reset_there_is_no_number(monkeypatch):
    monkeypatch.setattr(peak_memory, "CLEAR_REFS", Path("/nowhere"))
    reset_peak_memory(CPU)
    assert peak_memory_mb(CPU) is None


def test_the_peak_of_a_gpu_is_reset_for_each_cohort(monkeypatch, tmp_path, plan_of, train):
    """Torch's part is replaced, so that the test needs no GPU."""
    resets = []
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", resets.append)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 3 * 2**20)
    gpu = torch.device("cuda:0")
    reset_peak_memory(gpu)
    assert (resets, peak_memory_mb(gpu)) == ([gpu], 3.0)
    monkeypatch.setattr(cohort, "reset_peak_memory", lambda device: resets.append(device))
    train(Store(tmp_path), *plan_of({}).runs[:1])
    assert resets == [gpu, CPU]
