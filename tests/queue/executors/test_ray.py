"""The Ray executor in a real cluster of two nodes on this machine, one of which is killed."""

import errno
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
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
    RunResumed,
    RunsGivenAway,
    RunTakenElsewhere,
    WarningIssued,
    WorkerDied,
)
from kdbench.matrix import RunSpec, parse
from kdbench.plan import Plan, make_plan
from kdbench.queue.costs import CostModel
from kdbench.queue.executors.base import Job
from kdbench.queue.executors.ray import RayExecutor
from kdbench.queue.scheduler import Scheduler
from kdbench.queue.workload import Limits, Workload
from kdbench.results import Store
from kdbench.results.timings import read_timings
from kdbench.worker.cohort import CohortWorker
from kdbench.worker.remote import run_remote_job
from kdbench.workload import queue_runs

pytestmark = pytest.mark.slow
EPOCHS = 200
MACHINE_COLUMNS = {
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
    """The same runs, each alone in this process."""
    store = Store(tmp_path_factory.mktemp("undisturbed"))
    for spec in plan.runs:
        CohortWorker([spec], store, torch.device("cpu"), lambda event: None).train()
    return store


class Cluster:
    """Two nodes of one CPU each; `kill()` removes the second one without notice."""

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


def queue(plan: Plan, store: Store) -> Workload:
    return Workload(queue_runs(plan, plan.runs), CostModel(store, "Ray"))


def assert_same(specs: Iterable[RunSpec], store: Store, undisturbed: Store) -> None:
    for spec in specs:
        ours, theirs = (load_file(s.folder(spec.id) / "weights.safetensors") for s in (store, undisturbed))
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs), spec.method
        rows = [s.result(spec.id)["row"] for s in (store, undisturbed)]  # type: ignore[index]
        first, second = ({k: v for k, v in row.items() if k not in MACHINE_COLUMNS} for row in rows)
        assert first == second


def poll_until(executor: RayExecutor, kind: type[Event], events: list[Event]) -> Event:
    """Add the events up to the first new one of a kind to `events`, and return that one."""
    count = len(events)
    for _ in range(60):
        events += executor.poll(1.0)
        if found := [event for event in events[count:] if isinstance(event, kind)]:
            return found[0]
    raise AssertionError(events)


def test_a_run_goes_on_in_another_task_that_dies_and_in_a_third_one(
    plan: Plan, cluster: Cluster, undisturbed: Store, tmp_path: Path
) -> None:
    """The checkpoint is on disk and the lock is free when the event is returned, although the task goes on."""
    students = [spec for spec in plan.runs if spec.needs]
    given, kept = students[:2]
    store, events, options = Store(tmp_path / "results"), [], {"checkpoint_minutes": 5.0}
    for teacher in {spec.needs[0][1].id for spec in students}:
        shutil.copytree(undisturbed.folder(teacher), store.folder(teacher))
    executor = RayExecutor(store, cluster.address, "cpu", 1, run_remote_job)
    try:
        executor.submit(Job(1, (given, kept), options=options))
        poll_until(executor, EpochEnded, events)
        executor.give_away(1, [given.id])
        executor.give_away(9, [kept.id])  # no such job
        away = poll_until(executor, RunsGivenAway, events)
        assert isinstance(away, RunsGivenAway)
        assert (away.job, away.runs, store.next_epoch(given.id)) == (1, (given.id,), away.epoch)
        assert [store.state(spec.id) for spec in (given, kept)] == ["pending", "running"]
        assert "given away after epoch" in (store.folder(given.id) / "log.txt").read_text()
        executor.submit(Job(2, (given,), options=options))
        assert poll_until(executor, RunResumed, events) == RunResumed(given.id, away.epoch + 1)
        executor.cancel(2)
        died = poll_until(executor, WorkerDied, events)
        assert isinstance(died, WorkerDied)
        assert died.runs == (given.id,)
        executor.submit(Job(3, (given,), options=options))
        while sum(isinstance(event, JobEnded) for event in events) < 2:
            poll_until(executor, JobEnded, events)
    finally:
        executor.close()
    assert [store.attempts(spec.id) for spec in (given, kept)] == [2, 1]
    assert_same([given, kept], store, undisturbed)


def test_a_node_dies_and_nothing_is_lost(plan: Plan, cluster: Cluster, undisturbed: Store, tmp_path: Any) -> None:
    """A node is killed while both train students; the numbers equal those of runs alone in one process."""
    store, events, kills = Store(tmp_path / "results"), [], []
    executor = RayExecutor(store, cluster.address, "auto", 1, run_remote_job)
    assert executor.free_slots() == 2

    def kill_once(event: Event) -> None:
        events.append(event)
        if isinstance(event, EpochEnded) and event.epochs == EPOCHS and event.epoch >= 5 and not kills:
            kills.append(event)
            cluster.kill()

    Scheduler(queue(plan, store), store, executor, kill_once, Limits(options={"checkpoint_minutes": 0.0})).run()
    assert len(kills) == 1
    assert sum(isinstance(event, RunDone) for event in events) == len(plan.runs)
    assert {store.state(spec.id) for spec in plan.runs} == {"done"}
    assert {store.attempts(spec.id) for spec in plan.runs} <= {1, 2}
    died = [event for event in events if isinstance(event, WorkerDied)]
    assert died, "the killed node was idle"
    assert "the Ray task died" in died[0].reason
    assert_same(plan.runs, store, undisturbed)
    timings = {timing.architecture: timing.times["inference_ms"] for timing in read_timings(store.timings)}
    assert timings.keys() == store.architectures(spec.id for spec in plan.runs).keys()
    assert all(milliseconds > 0 for milliseconds in timings.values())
    again: list[Any] = []
    Scheduler(
        queue(plan, store), store, RayExecutor(store, cluster.address, "auto", 1, run_remote_job), again.append
    ).run()
    assert again == []


def test_a_run_that_another_process_trains_is_not_trained(plan: Plan, cluster: Cluster, tmp_path: Any) -> None:
    store = Store(tmp_path / "results")
    spec = plan.runs[0]
    lock = store.claim(spec.id)
    assert lock is not None
    executor = RayExecutor(store, cluster.address, "cpu", 1, run_remote_job)
    try:
        executor.submit(Job(1, (spec,)))
        assert executor.poll(5) == [RunTakenElsewhere(spec.id), JobEnded(1)]
    finally:
        lock.release()
        executor.close()


def test_a_teacher_with_corrupted_weights_is_retrained_before_it_is_sent(
    plan: Plan, cluster: Cluster, undisturbed: Store, tmp_path: Path
) -> None:
    student = next(spec for spec in plan.runs if spec.needs)
    teacher = student.needs[0][1]
    shutil.copytree(undisturbed.root, tmp_path / "results")
    store, events = Store(tmp_path / "results"), []
    store.clear_result(student.id)
    weights = store.folder(teacher.id) / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"X")
    Scheduler(
        queue(plan, store), store, RayExecutor(store, cluster.address, "cpu", 1, run_remote_job), events.append
    ).run()
    warnings = [event for event in events if isinstance(event, WarningIssued)]
    assert [warning.run for warning in warnings] == [teacher.id]
    assert "weights.safetensors does not match its checksum" in warnings[0].text
    assert {event.run for event in events if isinstance(event, RunDone)} == {teacher.id, student.id}
    assert not any(isinstance(event, RunFailed) for event in events)
    assert_same(plan.runs, store, undisturbed)


def test_another_version_of_kdbench_on_a_node_is_an_error(
    plan: Plan, cluster: Cluster, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor = RayExecutor(Store(tmp_path / "results"), cluster.address, "cpu", 1, run_remote_job)
    monkeypatch.setattr(kdbench, "__version__", "0.0")
    try:
        with pytest.raises(
            KdbenchError, match=r"the job was submitted by kdbench 0\.0, but .* install the same version"
        ):
            Scheduler(
                queue(plan, Store(tmp_path / "results")), Store(tmp_path / "results"), executor, lambda event: None
            ).run()
    finally:
        executor.close()
    assert not ray.is_initialized()  # also after the second close


def fill_disk(*arguments: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_of_a_node_is_an_error_and_no_run_fails(plan: Plan, cluster: Cluster, tmp_path: Any) -> None:
    store = Store(tmp_path / "results")
    executor = RayExecutor(store, cluster.address, "cpu", 1, fill_disk)
    with pytest.raises(KdbenchError, match=r"No space left on device\); free space there and rerun the command"):
        Scheduler(queue(plan, store), store, executor, lambda event: None).run()
    assert {store.state(spec.id) for spec in plan.runs} == {"pending"}


def test_a_cluster_without_a_gpu_is_an_error(cluster: Cluster, tmp_path: Any) -> None:
    with pytest.raises(KdbenchError, match="the Ray cluster has no GPU"):
        RayExecutor(Store(tmp_path), cluster.address, "cuda", 1, run_remote_job)


def poll_for_a_minute(executor: RayExecutor) -> None:
    for _ in range(60):
        executor.poll(1.0)


@pytest.mark.parametrize(
    "path", ["../outside", "runs/other/result.json", "runs/{run}/../../kdbench.json", "kdbench.json"]
)
def test_only_files_of_the_runs_of_a_job_are_written(plan: Plan, cluster: Cluster, tmp_path: Any, path: str) -> None:
    store, spec = Store(tmp_path / "results"), plan.runs[0]

    def send_file(version: str, job: Any, inputs: Any, device: str, threads: int, send: Any, requested: Any) -> None:
        send(RemoteEvent(RunDone("x"), {path.format(run=spec.id): b"content"}))

    executor = RayExecutor(store, cluster.address, "cpu", 1, send_file)
    try:
        executor.submit(Job(1, (spec,)))
        with pytest.raises(ResultsError, match="nothing was written"):
            poll_for_a_minute(executor)
    finally:
        executor.close()
    assert not (tmp_path / "outside").exists()


def test_the_command_line_runs_a_matrix_on_a_cluster(cluster: Cluster, tmp_path: Path) -> None:
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
    process = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=180, check=False)
    assert process.returncode == 0, process.stdout + process.stderr
    assert "3 of 3 runs finished" in process.stdout
    assert (tmp_path / "results" / "results.parquet").exists()
    assert "vanilla" in (tmp_path / "reports" / "small" / "report.md").read_text()


def test_an_unreachable_cluster_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(KdbenchError, match=r"^cannot connect to the Ray cluster at .*ray start --head"):
        RayExecutor(Store(tmp_path), "no-such-scheme://nowhere", "cpu", 1, run_remote_job)
