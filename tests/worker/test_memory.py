"""Memory that runs out: halves, and the one that does not fit alone."""

import gc
import weakref
from dataclasses import replace

import pytest
import torch

from kdbench.worker import memory
from kdbench.worker.cohort import CohortWorker
from kdbench.worker.memory import free_memory, train_within_memory


def outcome(sizes, room, error=lambda: MemoryError("no room")):
    """Which runs (by their sizes) are trained together, which fail and which cohorts are cut, with `room` of memory."""
    trained, failed, cut = [], [], []

    def train(specs):
        if sum(specs) > room:
            raise error()
        trained.append(list(specs))

    train_within_memory(
        sizes, train, lambda spec, error: failed.append((spec, str(error))), lambda s: cut.append(list(s))
    )
    return trained, failed, cut


def test_what_fits_is_trained_together():
    assert outcome([1, 2, 3], 6) == ([[1, 2, 3]], [], [])


def test_a_cohort_is_halved_until_it_fits():
    trained, failed, cut = outcome([1, 2, 3, 4, 5], 6)
    assert (trained, failed, cut) == ([[1, 2, 3], [4], [5]], [], [[1, 2, 3, 4, 5], [4, 5]])


def test_a_run_that_does_not_fit_alone_fails_alone_and_says_what_to_change():
    trained, failed, _ = outcome([1, 9, 1], 6)
    assert trained == [[1], [1]]
    ((spec, text),) = failed
    assert spec == 9
    assert text == (
        "out of memory, alone on its device (no room); lower recipe.batch_size, choose a smaller network, "
        "or set run.workers or run.runs_per_device lower"
    )


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
def test_torchs_ways_to_say_it(error):
    assert outcome([2, 2], 3, error)[0] == [[2], [2]]


def test_each_cohort_begins_when_those_before_it_are_freed():
    """Also those that went well, and whose objects refer to one another."""

    class CohortLoop:
        def __init__(self):
            self.itself = self

    left, freed = [], []

    def train(specs):
        freed.append([cohort() is None for cohort in left])
        left.append(weakref.ref(CohortLoop()))
        if len(specs) > 1:
            raise MemoryError

    gc.disable()
    try:
        for job in ([1, 2], [3]):
            train_within_memory(job, train, lambda spec, error: None, lambda specs: None)
    finally:
        gc.enable()
    assert freed == [[True] * before for before in range(4)]


def test_any_other_error_is_not_about_memory():
    with pytest.raises(RuntimeError, match="shapes"):
        outcome([2, 2], 3, lambda: RuntimeError("shapes do not agree"))


def test_a_cohort_that_cannot_fit_is_cut_before_it_begins(plan_of, store, monkeypatch):
    """Room for one and a half students: nothing is trained together, one alone is."""
    specs = [run for run in plan_of({}, pair=("mlp_12", "mlp_8")).runs if run.student.name == "mlp_8"]
    (spec,) = specs
    weights = 4 * (64 * 8 + 8 + 8 * 10 + 10)
    monkeypatch.setattr(memory, "free_memory", lambda device: int(1.5 * 4 * weights))
    other = replace(spec, seed=1)
    with pytest.raises(MemoryError, match=r"2 runs need about 0\.0 GiB, and 0\.0 are free"):
        CohortWorker([spec, other], store, torch.device("cpu"), lambda event: None).train()
    assert not store.is_finished(spec.id)
    CohortWorker([spec], store, torch.device("cpu"), lambda event: None).train()
    assert store.state(spec.id) == "done"


def test_free_memory_is_some_of_the_machines():
    assert 2**20 < free_memory(torch.device("cpu")) < 2**50
