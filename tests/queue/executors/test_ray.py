"""Jobs in a real cluster of two nodes on this machine, one of which is killed."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import kdbench
from kdbench.errors import KdbenchError, ResultsError
from kdbench.events import (
    EpochEnded,
    Event,
    JobEnded,
    RemoteEvent,
    RunDone,
    RunFailed,
    RunTakenElsewhere,
    WarningIssued,
    WorkerDied,
)
from kdbench.matrix import parse
from kdbench.plan import Plan, batches_key, make_plan
from kdbench.queue.executors.base import Job
from kdbench.queue.executors.ray import RayExecutor
from kdbench.queue.grouping import QueuedRun
from kdbench.queue.scheduler import Limits, Scheduler
from kdbench.results import Store
from kdbench.worker.cohort import CohortWorker
from kdbench.worker.remote import work

EPOCHS = 200
OF_A_MACHINE = {
    "train_seconds",
    "peak_memory_mb",
    "started",
    "finished",
    "cohort_size",
    "attempts",
    "host",
    "inference_ms",
}


@pytest.fixture(scope="module")
def plan() -> Plan:
    recipe = {"epochs": EPOCHS, "batch_size": 50, "precision": "fp32", "train_samples": 100}
    raw = {
        "name": "small",
        "datasets": ["digits"],
        "seeds": [0, 1],
        "pairs": [{"teacher": "mlp_12", "student": "mlp_8"}],
        "recipe": {**recipe, "teacher": {"epochs": 5}},
        "methods": {"vanilla": {}, "rkd_da": {}},
    }
    return make_plan(parse(raw, "small.toml"))


@pytest.fixture(scope="module")
def undisturbed(plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """The same runs, each alone, in this process."""
    store = Store(tmp_path_factory.mktemp("undisturbed"))
    for spec in plan.runs:
        CohortWorker([spec], store, torch.device("cpu"), lambda event: None).train()
    return store


class Cluster:
    """Two nodes of one processor each; `kill()` takes the second one away without a word."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster as Nodes

        self._nodes = Nodes(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        self._second = self._nodes.add_node(num_cpus=1)
        self.address: str = self._nodes.address

    def kill(self) -> None:
        self._nodes.remove_node(self._second, allow_graceful=False)

    def shutdown(self) -> None:
        self._nodes.shutdown()


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    made = Cluster()
    yield made
    made.shutdown()


def items(plan: Plan) -> list[QueuedRun]:
    return [QueuedRun(spec, batches_key(spec)) for spec in plan.runs]


def assert_same(plan: Plan, store: Store, undisturbed: Store) -> None:
    for spec in plan.runs:
        ours, theirs = (load_file(s.folder(spec.id) / "weights.safetensors") for s in (store, undisturbed))
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs), spec.method
        rows = [s.result(spec.id)["row"] for s in (store, undisturbed)]  # type: ignore[index]
        first, second = ({k: v for k, v in row.items() if k not in OF_A_MACHINE} for row in rows)
        assert first == second


def test_a_node_dies_and_nothing_is_lost(plan: Plan, cluster: Cluster, undisturbed: Store, tmp_path: Any) -> None:
    """Killed while both nodes train students; the numbers are those of runs alone in one process."""
    store, events, kills = Store(tmp_path / "results"), [], []
    executor = RayExecutor(store, cluster.address, "auto", 1, work)
    assert executor.capacity() == 2

    def kill_once(event: Event) -> None:
        events.append(event)
        if isinstance(event, EpochEnded) and event.epochs == EPOCHS and event.epoch >= 5 and not kills:
            kills.append(event)
            cluster.kill()

    Scheduler(items(plan), store, executor, kill_once, Limits(options={"checkpoint_minutes": 0.0})).run()
    assert len(kills) == 1
    assert sum(isinstance(event, RunDone) for event in events) == len(plan.runs)
    assert {store.state(spec.id) for spec in plan.runs} == {"done"}
    assert {store.attempts(spec.id) for spec in plan.runs} <= {1, 2}
    died = [event for event in events if isinstance(event, WorkerDied)]
    assert died, "the node that was killed had nothing to do"
    assert "its Ray task died" in died[0].reason
    assert_same(plan, store, undisturbed)
    timings = [store.timing(store.result(spec.id)["architecture"]) for spec in plan.runs]  # type: ignore[index]
    assert all(timing and timing["inference_ms"] > 0 for timing in timings)
    again: list[Any] = []
    Scheduler(items(plan), store, RayExecutor(store, cluster.address, "auto", 1, work), again.append).run()
    assert again == []


def test_what_another_process_trains_is_left_to_it(plan: Plan, cluster: Cluster, tmp_path: Any) -> None:
    store = Store(tmp_path / "results")
    spec = plan.runs[0]
    lock = store.claim(spec.id)
    assert lock is not None
    executor = RayExecutor(store, cluster.address, "cpu", 1, work)
    try:
        executor.submit(Job(1, (spec,)))
        assert executor.poll(5) == [RunTakenElsewhere(spec.id), JobEnded(1)]
    finally:
        lock.release()
        executor.close()


def test_a_teacher_whose_weights_changed_is_repeated_before_it_is_shipped(
    plan: Plan, cluster: Cluster, undisturbed: Store, tmp_path: Path
) -> None:
    student = next(spec for spec in plan.runs if spec.needs)
    teacher = student.needs[0][1]
    shutil.copytree(undisturbed.root, tmp_path / "results")
    store, events = Store(tmp_path / "results"), []
    store.forget_result(student.id)
    weights = store.folder(teacher.id) / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"X")
    Scheduler(items(plan), store, RayExecutor(store, cluster.address, "cpu", 1, work), events.append).run()
    warnings = [event for event in events if isinstance(event, WarningIssued)]
    assert [warning.run for warning in warnings] == [teacher.id]
    assert "weights.safetensors is not what was written" in warnings[0].text
    assert {event.run for event in events if isinstance(event, RunDone)} == {teacher.id, student.id}
    assert not any(isinstance(event, RunFailed) for event in events)
    assert_same(plan, store, undisturbed)


def test_another_version_of_kdbench_on_a_node_is_an_error_for_all(
    plan: Plan, cluster: Cluster, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor = RayExecutor(Store(tmp_path / "results"), cluster.address, "cpu", 1, work)
    monkeypatch.setattr(kdbench, "__version__", "0.0")
    try:
        with pytest.raises(KdbenchError, match=r"kdbench 0\.0 asks for a job, but .* install the same version"):
            Scheduler(items(plan), Store(tmp_path / "results"), executor, lambda event: None).run()
    finally:
        executor.close()


def test_a_gpu_that_is_not_there_is_told(cluster: Cluster, tmp_path: Any) -> None:
    with pytest.raises(KdbenchError, match="no GPU is in the Ray cluster"):
        RayExecutor(Store(tmp_path), cluster.address, "cuda", 1, work)


def poll_for_a_minute(executor: RayExecutor) -> None:
    for _ in range(60):
        executor.poll(1.0)


@pytest.mark.parametrize(
    "place", ["../outside", "runs/other/result.json", "runs/{run}/../../kdbench.json", "kdbench.json"]
)
def test_only_files_of_the_jobs_runs_are_written(plan: Plan, cluster: Cluster, tmp_path: Any, place: str) -> None:
    store, spec = Store(tmp_path / "results"), plan.runs[0]

    def wicked(version: str, job: Any, inputs: Any, device: str, threads: int, send: Any) -> None:
        send(RemoteEvent(RunDone("x"), {place.format(run=spec.id): b"content"}))

    executor = RayExecutor(store, cluster.address, "cpu", 1, wicked)
    try:
        executor.submit(Job(1, (spec,)))
        with pytest.raises(ResultsError, match="nothing was written"):
            poll_for_a_minute(executor)
    finally:
        executor.close()
    assert not (tmp_path / "outside").exists()


def test_the_command_line_needs_no_more_than_two_options(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "small.toml").write_text(
        """
        name = "small"
        datasets = ["digits"]
        pairs = [{ teacher = "mlp_12", student = "mlp_8" }]
        recipe = { epochs = 2, batch_size = 50, precision = "fp32", train_samples = 100 }
        methods.vanilla = {}
        """
    )
    command = [sys.executable, "-m", "kdbench", "run", "small.toml", "--executor", "ray", "--address", cluster.address]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=180, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "3 of 3 runs finished" in ended.stdout
    assert (tmp_path / "results" / "results.parquet").exists()
    assert "vanilla" in (tmp_path / "reports" / "small" / "report.md").read_text()


def test_a_cluster_that_does_not_answer_is_told(tmp_path: Path) -> None:
    with pytest.raises(KdbenchError, match=r"the Ray cluster at .* does not answer .*ray start --head"):
        RayExecutor(Store(tmp_path), "no-such-scheme://nowhere", "cpu", 1, work)
