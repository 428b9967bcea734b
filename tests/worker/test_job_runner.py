"""What a worker makes of a job's options."""

import pytest
import torch

from kdbench.events import JobFailed, JobStarted
from kdbench.worker import job_runner
from kdbench.worker.job_runner import JobRunner
from kdbench.worker.options import Options


@pytest.fixture
def made(monkeypatch):
    """What cohorts are made with."""
    found = []

    class Noting:
        def __init__(self, specs, store, device, report, options):
            found.append((len(specs), device, options))

        def train(self):
            pass

    monkeypatch.setattr(job_runner, "CohortWorker", Noting)
    return found


@pytest.fixture
def serve_job(tmp_path, plan_of):
    """`serve_job(options)`: what a worker tells of a job with one run."""

    def run(options):
        events = []
        server = JobRunner(str(tmp_path), "cpu", torch.get_num_threads(), None, events.append)
        server.run_job({"id": 1, "train": [plan_of({"vanilla": {}}).runs[0].to_json()], "options": options})
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
def test_the_options_of_a_job_reach_the_cohort(made, serve_job, options, expected):
    serve_job(options)
    assert made == [(1, torch.device("cpu"), expected)]


def test_without_a_compiler_no_run_is_begun(made, serve_job, tmp_path, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    started, failed = serve_job({"compile": True})
    assert started == JobStarted(1)
    assert isinstance(failed, JobFailed)
    assert failed.error.startswith("run.compile needs a C++ compiler and Python's headers, but ")
    assert "has no compiler 'no-such-compiler'; install it" in failed.error
    assert made == []
    assert not list(tmp_path.glob("runs/*"))
    serve_job({"compile": False})
    assert len(made) == 1
