"""The jobs of a worker: options, locks and errors."""

from dataclasses import replace

import pytest
import torch

from kdbench.events import InferenceTimed, JobFailed, JobStarted, RunDone, RunMeasured, RunTakenElsewhere
from kdbench.results import Store
from kdbench.worker import job_runner
from kdbench.worker.job_runner import JobRunner
from kdbench.worker.options import Options
from kdbench.worker.step_cost import StepCost


@pytest.fixture
def cohorts(monkeypatch):
    """The number of runs, the device and the options of each cohort; nothing is trained."""
    found = []

    class FakeCohortWorker:
        def __init__(self, specs, store, device, on_event, options, claims):
            found.append((len(specs), device, options))

        def train(self):
            pass

    monkeypatch.setattr(job_runner, "CohortWorker", FakeCohortWorker)
    return found


@pytest.fixture
def spec(plan_of):
    return plan_of({"vanilla": {}}).runs[0]


@pytest.fixture
def run_job(tmp_path):
    """`run_job(**job)`: the events of a job."""

    def run(**job):
        events = []
        JobRunner(str(tmp_path), "cpu", torch.get_num_threads(), None, events.append).run_job({"id": 1, **job})
        return events

    return run


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"checkpoint_minutes": 2.0, "teacher_cache_gb": 0.5}, Options(2.0, 0.5)),
        ({"compile": True, "cuda_graphs": True}, Options(5.0, 0.0, compile=True, cuda_graphs=True)),
        ({}, Options()),
    ],
)
def test_the_options_of_a_job_reach_the_cohort(cohorts, run_job, spec, options, expected):
    assert run_job(train=[spec.to_json()], options=options) == [JobStarted(1)]
    assert cohorts == [(1, torch.device("cpu"), expected)]


def test_a_run_of_another_version_of_the_numbers_is_not_trained(cohorts, run_job, spec):
    other = replace(spec, numerics=spec.numerics + 1)
    started, failed = run_job(train=[other.to_json()])
    assert (started, cohorts) == (JobStarted(1), [])
    assert isinstance(failed, JobFailed)
    assert f"version {spec.numerics + 1} of kdbench's numbers" in failed.error
    assert f"has version {spec.numerics}; install the same kdbench on every machine" in failed.error


def test_without_a_compiler_no_run_starts(cohorts, run_job, spec, tmp_path, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    started, failed = run_job(train=[spec.to_json()], options={"compile": True})
    assert started == JobStarted(1)
    assert isinstance(failed, JobFailed)
    assert failed.error.startswith("run.compile needs a C++ compiler and Python's headers, but ")
    assert "has no compiler 'no-such-compiler'; install it" in failed.error
    assert cohorts == []
    assert not list(tmp_path.glob("runs/*"))
    run_job(train=[spec.to_json()], options={"compile": False})
    assert len(cohorts) == 1


def test_runs_that_are_locked_or_finished_are_not_trained(cohorts, run_job, plan_of, tmp_path):
    locked, finished, pending = plan_of({"vanilla": {}}).runs
    store = Store(tmp_path)
    store.write_result(finished.id, {"status": "done", "row": {}})
    lock = store.claim(locked.id)
    try:
        events = run_job(train=[spec.to_json() for spec in (locked, finished, pending)])
    finally:
        lock.release()
    assert events == [JobStarted(1), RunTakenElsewhere(locked.id), RunDone(finished.id)]
    assert [size for size, _, _ in cohorts] == [1]
    assert store.attempts(pending.id) == 1
    assert store.attempts(locked.id) == 0


def test_a_timing_job_times_the_network_of_its_run(run_job, spec, tmp_path):
    assert run_job(time=spec.to_json()) == [JobStarted(1), InferenceTimed(spec.id)]
    assert len(list(Store(tmp_path).timings.glob("*.json"))) == 1


def test_a_few_steps_are_measured_without_training(run_job, spec, tmp_path):
    started, measured = run_job(measure=[spec.to_json()], options={})
    assert started == JobStarted(1)
    assert isinstance(measured, RunMeasured)
    assert measured.run == spec.id
    assert measured.own > 0
    assert measured.shared > 0
    assert measured.evaluation > 0
    assert not list(tmp_path.glob("runs/*"))


def test_a_run_that_cannot_be_measured_is_left_to_its_training(run_job, spec, monkeypatch):
    def measure(run, *_):
        if run.id == spec.id:
            raise ValueError("a method's own error")
        return StepCost(0.1, 0.2, 0.3)

    monkeypatch.setattr(job_runner, "measure_step_cost", measure)
    other = replace(spec, seed=7)
    assert run_job(measure=[spec.to_json(), other.to_json()], options={}) == [
        JobStarted(1),
        RunMeasured(other.id, 0.2, 0.1, 0.3),
    ]
