"""What happens before and after a plan is trained; the scheduler is a fake."""

import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from kdbench.errors import KdbenchError, StorageError
from kdbench.events import CohortStarted, Event, EventHandler, SlotsCounted
from kdbench.matrix import parse
from kdbench.plan import Plan, batches_key, make_plan
from kdbench.queue.devices import Slot
from kdbench.queue.executors.base import Executor, Job
from kdbench.queue.queued_run import QueuedRun
from kdbench.queue.signals import Interrupts
from kdbench.queue.workload import Limits, Workload
from kdbench.results import Store
from kdbench.results.files import read_json
from kdbench.results.timings import TimingEnvironment
from kdbench.runner import run_plan

EVENT = CohortStarted(1, 1, ("run",))


@dataclass
class UnusedExecutor:
    """An executor to which no job is submitted."""

    threads: int = 1

    def environments(self) -> tuple[TimingEnvironment, ...]:
        return (TimingEnvironment.here("cpu", self.threads),)

    def start(self) -> None:
        raise AssertionError

    def slot_count(self) -> int:
        return 3

    def free_slots(self) -> int:
        raise AssertionError

    def submit(self, job: Job) -> None:
        raise AssertionError

    def poll(self, timeout: float) -> list[Event]:
        raise AssertionError

    def cancel(self, job: int) -> None:
        raise AssertionError

    def close(self, kill: bool = False) -> None:
        raise AssertionError


@dataclass
class FakeScheduler:
    """Replaces the scheduler and the local executor; keeps the arguments of both."""

    error: BaseException | None = None
    signals: int = 0
    runs: list[QueuedRun] = field(default_factory=list)
    slots: list[Slot] = field(default_factory=list)
    executor: Executor | None = None
    limits: Limits | None = None
    interrupts: Interrupts = field(default_factory=Interrupts)
    ran: int = 0

    def __call__(
        self,
        workload: Workload,
        store: Store,
        executor: Executor,
        on_event: EventHandler,
        limits: Limits,
        interrupts: Interrupts,
    ) -> "FakeScheduler":
        self.runs, self.executor, self.limits, self.interrupts = list(workload.runs), executor, limits, interrupts
        on_event(EVENT)
        return self

    def create_executor(self, slots: Sequence[Slot], store: Store) -> UnusedExecutor:
        self.slots = list(slots)
        return UnusedExecutor(slots[0].threads)

    def run(self) -> None:
        self.ran += 1
        for _ in range(self.signals):
            signal.raise_signal(signal.SIGTERM)
        if self.error is not None:
            raise self.error


@pytest.fixture
def scheduler(monkeypatch: pytest.MonkeyPatch) -> FakeScheduler:
    fake = FakeScheduler()
    monkeypatch.setattr("kdbench.runner.Scheduler", fake)
    monkeypatch.setattr("kdbench.executor.LocalExecutor", fake.create_executor)
    return fake


@pytest.fixture(scope="module")
def plan_with() -> Callable[..., Plan]:
    """`plan_with(**run)`: the plan of a small matrix with these keys of [run]."""

    def planned(**run: Any) -> Plan:
        raw = {
            "name": "small",
            "datasets": ["digits"],
            "pairs": [{"teacher": "cnn_4_8", "student": "mlp_16"}],
            "recipe": {"epochs": 1, "precision": "fp32"},
            "methods": {"vanilla": {}},
            "run": {"devices": "cpu", **run},
        }
        return make_plan(parse(raw, "small.toml"))

    return planned


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


def ignore(event: Event) -> None:
    pass


def test_every_run_is_queued_with_the_key_of_its_batches(
    scheduler: FakeScheduler, store: Store, plan_with: Callable[..., Plan]
) -> None:
    plan = plan_with(workers=3)
    run_plan(plan, store, ignore)
    assert [(queued.spec.id, queued.batches) for queued in scheduler.runs] == [
        (run.id, batches_key(run)) for run in plan.runs
    ]
    assert scheduler.slots == [Slot("cpu", 1, {"CUDA_VISIBLE_DEVICES": ""})] * 3
    assert scheduler.ran == 1


def test_the_index_and_the_tables_are_written(
    scheduler: FakeScheduler, store: Store, plan_with: Callable[..., Plan]
) -> None:
    plan = plan_with()
    run_plan(plan, store, ignore)
    assert store.index("small") == plan.index()
    table = pq.read_table(store.root / "results.parquet")
    assert sorted(table["run_id"].to_pylist()) == sorted(run.id for run in plan.runs)
    assert set(table["status"].to_pylist()) == {"pending"}


@pytest.mark.parametrize("error", [KdbenchError("the disk is full"), KeyboardInterrupt()], ids=["error", "interrupt"])
def test_the_tables_are_written_after_an_error_or_an_interrupt(
    scheduler: FakeScheduler, store: Store, plan_with: Callable[..., Plan], error: Exception
) -> None:
    scheduler.error = error
    with pytest.raises(type(error)):
        run_plan(plan_with(), store, ignore)
    assert pq.read_table(store.root / "results.parquet").num_rows == 3


def test_a_second_interrupt_skips_the_tables(
    scheduler: FakeScheduler, store: Store, plan_with: Callable[..., Plan]
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    scheduler.signals = 1
    run_plan(plan_with(), store, ignore)
    assert scheduler.interrupts.is_stop_requested
    assert (store.root / "results.parquet").exists()
    (store.root / "results.parquet").unlink()
    scheduler.signals = 2
    with pytest.raises(KeyboardInterrupt):
        run_plan(plan_with(), store, ignore)
    assert not (store.root / "results.parquet").exists()
    assert signal.getsignal(signal.SIGTERM) is before


def test_the_limits_of_the_matrix_reach_the_scheduler(
    scheduler: FakeScheduler, store: Store, plan_with: Callable[..., Plan]
) -> None:
    options = {"checkpoint_minutes": 0.0, "teacher_cache_gb": 0.5, "compile": True, "cuda_graphs": True}
    run_plan(plan_with(time_limit=2.5, **options), store, ignore)
    assert scheduler.limits == Limits(2.5, options)
    run_plan(plan_with(), store, ignore)
    defaults = {"checkpoint_minutes": 5.0, "teacher_cache_gb": 2.0, "compile": False, "cuda_graphs": False}
    assert scheduler.limits == Limits(None, defaults)


def test_an_explicit_executor_is_used_without_a_search_for_devices(
    scheduler: FakeScheduler, store: Store, plan_with: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kdbench.queue.devices.list_gpus", list)
    executor = UnusedExecutor()
    run_plan(plan_with(devices="cuda"), store, ignore, executor)
    assert scheduler.executor is executor
    assert scheduler.slots == []


def test_the_threads_are_chosen_once_per_folder(
    scheduler: FakeScheduler, store: Store, plan_with: Callable[..., Plan]
) -> None:
    run_plan(plan_with(threads=2, workers=1), store, ignore)
    assert read_json(store.root / "kdbench.json")["threads"] == 2
    run_plan(plan_with(workers=1), store, ignore)
    assert [slot.threads for slot in scheduler.slots] == [2]


def test_other_threads_are_an_error_before_anything_is_written(
    scheduler: FakeScheduler, store: Store, plan_with: Callable[..., Plan]
) -> None:
    store.fix_threads(1)
    with pytest.raises(
        KdbenchError, match=r"run.threads is 2, but the runs in .* were trained with 1 per worker.*set run.threads = 1"
    ):
        run_plan(plan_with(threads=2), store, ignore)
    assert scheduler.ran == 0
    assert list(store.indexes()) == []


def test_workers_that_started_before_another_command_fixed_the_threads_are_an_error(
    scheduler: FakeScheduler, store: Store, plan_with: Callable[..., Plan]
) -> None:
    store.fix_threads(2)
    with pytest.raises(KdbenchError, match=r"another command has fixed the threads .* at 2 since .*; rerun"):
        run_plan(plan_with(), store, ignore, UnusedExecutor(threads=1))
    assert scheduler.ran == 0
    assert list(store.indexes()) == []


def test_a_missing_device_is_an_error_before_anything_is_written(
    scheduler: FakeScheduler, store: Store, plan_with: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kdbench.queue.devices.list_gpus", list)
    with pytest.raises(KdbenchError, match=r'run\.devices is "cuda", but no NVIDIA GPU was found'):
        run_plan(plan_with(devices="cuda"), store, ignore)
    assert scheduler.ran == 0
    assert list(store.indexes()) == []


def test_a_read_only_results_folder_is_an_error(
    scheduler: FakeScheduler, store: Store, plan_with: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, data: bytes) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "write_bytes", refuse)
    with pytest.raises(StorageError, match=r"cannot be written \(Read-only file system\)"):
        run_plan(plan_with(), store, ignore)
    assert scheduler.ran == 0


def test_events_of_the_scheduler_reach_the_handler(
    scheduler: FakeScheduler, store: Store, plan_with: Callable[..., Plan]
) -> None:
    events: list[Event] = []
    run_plan(plan_with(), store, events.append)
    assert events == [SlotsCounted(3), EVENT]
