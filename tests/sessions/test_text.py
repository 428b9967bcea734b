"""Workers in a line of text."""

from typing import Any

import pytest

from kdbench.results.sessions import WorkerActivity
from kdbench.sessions.text import describe_idle, describe_worker, name_runs


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"state": "idle"}, ("idle for 12 s", "", "")),
        ({"state": "starting"}, ("a task", "starting", "")),
        ({"state": "timing", "task": "mlp_16"}, ("timing the inference of mlp_16", "", "")),
        ({}, ("a task", "started 12 s ago", "")),
        ({"epoch": 3, "epochs": 9}, ("a task", "epoch 3/9", "")),
        (
            {"epoch": 3, "epochs": 9, "seconds_left": 61.0, "loss": 0.5},
            ("a task", "epoch 3/9, 1 min 01 s left", "loss 0.500"),
        ),
    ],
)
def test_a_worker(changes: dict[str, Any], expected: tuple[str, str, str]) -> None:
    values = {"worker": 1, "state": "training", "seconds": 12.0, "task": "a task", **changes}
    assert describe_worker(WorkerActivity(**values)) == expected


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (0, ""),
        (2, "worker 2 idle for 0 s, worker 3 idle for 1 s"),
        (4, "4 of 5 workers idle"),
    ],
)
def test_idle_workers_are_named_and_many_are_counted(count: int, expected: str) -> None:
    workers = [WorkerActivity(1, "training", 5.0), *(WorkerActivity(2 + i, "idle", float(i)) for i in range(count))]
    assert describe_idle(workers) == expected


def test_no_runs_have_no_name() -> None:
    assert name_runs([]) == ""
