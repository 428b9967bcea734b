"""What a worker makes of a job's options."""

import pytest
import torch

from kdbench.run import serve
from kdbench.run.options import Options
from kdbench.run.serve import Server


@pytest.fixture
def made(monkeypatch):
    """What cohorts are made with."""
    found = []

    class Noting:
        def __init__(self, specs, store, device, report, options):
            found.append((len(specs), device, options))

        def train(self):
            pass

    monkeypatch.setattr(serve, "CohortRun", Noting)
    return found


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"checkpoint_minutes": 2.0, "replay_gigabytes": 0.5}, Options(2.0, 0.5)),
        ({"compile": True, "cuda_graphs": True}, Options(5.0, 0.0, compile=True, cuda_graphs=True)),
        ({}, Options()),
    ],
)
def test_the_options_of_a_job_reach_the_cohort(made, tmp_path, plan_of, options, expected):
    spec = plan_of({"vanilla": {}}).runs[0]
    server = Server(str(tmp_path), "cpu", torch.get_num_threads(), None, lambda event: None)
    server.serve({"id": 1, "train": [spec.to_json()], "options": options})
    assert made == [(1, torch.device("cpu"), expected)]
