"""Out of memory: a cohort is halved, and a run that does not fit alone fails."""

import gc
import weakref
from dataclasses import replace

import pytest
import torch

from kdbench.worker import memory
from kdbench.worker.cohort import CohortWorker
from kdbench.worker.memory import free_memory, train_within_memory


def train_runs(sizes, memory, error=lambda: MemoryError("no room")):
    """Train runs, given by their sizes, within `memory`; return the cohorts that trained, failed and were halved."""
    trained, failed, halved = [], [], []

    def train(specs):
        if sum(specs) > memory:
            raise error()
        trained.append(list(specs))

    train_within_memory(
        sizes, train, lambda spec, error: failed.append((spec, str(error))), lambda s: halved.append(list(s))
    )
    return trained, failed, halved


@pytest.fixture
def no_collection(monkeypatch):
    """Skip garbage collections, which take most of the time of these tests."""
    monkeypatch.setattr(gc, "collect", lambda: 0)


@pytest.mark.usefixtures("no_collection")
def test_a_cohort_that_fits_trains_together():
    assert train_runs([1, 2, 3], 6) == ([[1, 2, 3]], [], [])


@pytest.mark.usefixtures("no_collection")
def test_a_cohort_is_halved_until_it_fits():
    trained, failed, halved = train_runs([1, 2, 3, 4, 5], 6)
    assert (trained, failed, halved) == ([[1, 2, 3], [4], [5]], [], [[1, 2, 3, 4, 5], [4, 5]])


@pytest.mark.usefixtures("no_collection")
def test_a_run_that_does_not_fit_alone_fails_with_a_remedy():
    trained, failed, _ = train_runs([1, 9, 1], 6)
    assert trained == [[1], [1]]
    ((spec, text),) = failed
    assert spec == 9
    assert text == (
        "out of memory, alone on its device (no room); lower recipe.batch_size, choose a smaller network, "
        "or set run.workers or run.runs_per_device lower"
    )


@pytest.mark.usefixtures("no_collection")
@pytest.mark.parametrize(
    "error",
    [
        lambda: torch.OutOfMemoryError("CUDA out of memory"),
        lambda: RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"),
        lambda: RuntimeError("std::bad_alloc"),
        lambda: RuntimeError("CUDA error: out of memory\nSearch for `cudaErrorMemoryAllocation' in the manual"),
        lambda: RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
def test_out_of_memory_errors_of_torch_are_recognized(error):
    assert train_runs([2, 2], 3, error)[0] == [[2], [2]]


def test_earlier_cohorts_are_freed_before_the_next_one():
    """Also those that succeeded, and are in reference cycles."""

    class Cycle:
        def __init__(self):
            self.itself = self

    references, freed = [], []

    def train(specs):
        freed.append([reference() is None for reference in references])
        references.append(weakref.ref(Cycle()))
        if len(specs) > 1:
            raise MemoryError

    gc.disable()
    try:
        for job in ([1, 2], [3]):
            train_within_memory(job, train, lambda spec, error: None, lambda specs: None)
    finally:
        gc.enable()
    assert freed == [[True] * before for before in range(4)]


@pytest.mark.usefixtures("no_collection")
def test_other_errors_are_raised():
    with pytest.raises(RuntimeError, match="shapes"):
        train_runs([2, 2], 3, lambda: RuntimeError("shapes do not agree"))


def test_a_cohort_that_cannot_fit_is_refused_before_it_trains(plan_of, store, monkeypatch):
    """There is memory for one and a half students: two are refused, one trains."""
    specs = [run for run in plan_of({}, pair=("mlp_12", "mlp_8")).runs if run.student.name == "mlp_8"]
    (spec,) = specs
    weights = 4 * (64 * 8 + 8 + 8 * 10 + 10)
    monkeypatch.setattr(memory, "free_memory", lambda device: int(1.5 * 4 * weights))
    other = replace(spec, seed=1)
    with pytest.raises(MemoryError, match=r"2 runs need about 0\.0 GiB, and 0\.0 GiB are free"):
        CohortWorker([spec, other], store, torch.device("cpu"), lambda event: None).train()
    assert not store.is_finished(spec.id)
    CohortWorker([spec], store, torch.device("cpu"), lambda event: None).train()
    assert store.state(spec.id) == "done"


def test_free_memory_is_plausible():
    assert 2**20 < free_memory(torch.device("cpu")) < 2**50
