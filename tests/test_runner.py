"""What happens around the training of a plan; the queue itself is replaced by one that only takes note."""

import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from kdbench.errors import KdbenchError, ResultsError
from kdbench.events import CohortStarted, Event, EventHandler
from kdbench.matrix import parse
from kdbench.plan import Plan, batches_key, make_plan
from kdbench.queue.devices import Slot
from kdbench.queue.executors.base import Executor, Job
from kdbench.queue.grouping import QueuedRun
from kdbench.queue.scheduler import Limits
from kdbench.queue.signals import Interrupts
from kdbench.results import Store
from kdbench.results.files import read_json
from kdbench.runner import run_plan

ASKED = CohortStarted(("run",))


class Nowhere:
    """An executor that is never asked for anything."""

    def capacity(self) -> int:
        raise AssertionError

    def submit(self, job: Job) -> None:
        raise AssertionError

    def poll(self, timeout: float) -> list[Event]:
        raise AssertionError

    def cancel(self, job: int) -> None:
        raise AssertionError

    def close(self, now: bool = False) -> None:
        raise AssertionError


@dataclass
class Queue:
    """Stands in for the scheduler and for this machine's executor."""

    error: BaseException | None = None
    signals: int = 0
    items: list[QueuedRun] = field(default_factory=list)
    slots: list[Slot] = field(default_factory=list)
    executor: Executor | None = None
    limits: Limits | None = None
    interrupts: Interrupts = field(default_factory=Interrupts)
    ran: int = 0

    def __call__(
        self,
        items: Sequence[QueuedRun],
        store: Store,
        executor: Executor,
        on_event: EventHandler,
        limits: Limits,
        interrupts: Interrupts,
    ) -> "Queue":
        self.items, self.executor, self.limits, self.interrupts = list(items), executor, limits, interrupts
        on_event(ASKED)
        return self

    def place(self, slots: Sequence[Slot], store: Store) -> "Nowhere":
        self.slots = list(slots)
        return Nowhere()

    def run(self) -> None:
        self.ran += 1
        for _ in range(self.signals):
            signal.raise_signal(signal.SIGTERM)
        if self.error is not None:
            raise self.error


@pytest.fixture
def queue(monkeypatch: pytest.MonkeyPatch) -> Queue:
    found = Queue()
    monkeypatch.setattr("kdbench.runner.Scheduler", found)
    monkeypatch.setattr("kdbench.runner.LocalExecutor", found.place)
    return found


@pytest.fixture(scope="module")
def plan_with() -> Callable[..., Plan]:
    """Plans a small matrix with these options of [run]."""

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


def test_every_run_is_queued_with_the_name_of_its_batches(
    queue: Queue, store: Store, plan_with: Callable[..., Plan]
) -> None:
    plan = plan_with(workers=3)
    run_plan(plan, store, ignore)
    assert [(item.spec.id, item.batches) for item in queue.items] == [(run.id, batches_key(run)) for run in plan.runs]
    assert queue.slots == [Slot("cpu", 1, {"CUDA_VISIBLE_DEVICES": ""})] * 3
    assert queue.ran == 1


def test_the_index_and_the_tables_are_written(queue: Queue, store: Store, plan_with: Callable[..., Plan]) -> None:
    plan = plan_with()
    run_plan(plan, store, ignore)
    assert store.index("small") == plan.index()
    table = pq.read_table(store.root / "results.parquet")
    assert sorted(table["run_id"].to_pylist()) == sorted(run.id for run in plan.runs)
    assert set(table["status"].to_pylist()) == {"pending"}


@pytest.mark.parametrize("error", [KdbenchError("the disk is full"), KeyboardInterrupt()], ids=["error", "interrupt"])
def test_the_tables_are_written_even_where_the_queue_ends_early(
    queue: Queue, store: Store, plan_with: Callable[..., Plan], error: Exception
) -> None:
    queue.error = error
    with pytest.raises(type(error)):
        run_plan(plan_with(), store, ignore)
    assert pq.read_table(store.root / "results.parquet").num_rows == 3


def test_an_interrupt_stops_in_order_and_a_second_one_at_once(
    queue: Queue, store: Store, plan_with: Callable[..., Plan]
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    queue.signals = 1
    run_plan(plan_with(), store, ignore)
    assert queue.interrupts.wanted
    assert (store.root / "results.parquet").exists()
    (store.root / "results.parquet").unlink()
    queue.signals = 2
    with pytest.raises(KeyboardInterrupt):
        run_plan(plan_with(), store, ignore)
    assert not (store.root / "results.parquet").exists()
    assert signal.getsignal(signal.SIGTERM) is before


def test_the_limits_of_the_matrix_reach_the_queue(queue: Queue, store: Store, plan_with: Callable[..., Plan]) -> None:
    own = {"checkpoint_minutes": 0.0, "teacher_cache_gb": 0.5, "compile": True, "cuda_graphs": True}
    run_plan(plan_with(time_limit=2.5, **own), store, ignore)
    assert queue.limits == Limits(2.5, own)
    run_plan(plan_with(), store, ignore)
    usual = {"checkpoint_minutes": 5.0, "teacher_cache_gb": 2.0, "compile": False, "cuda_graphs": False}
    assert queue.limits == Limits(None, usual)


def test_an_executor_that_is_given_is_used_and_no_device_is_looked_for(
    queue: Queue, store: Store, plan_with: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kdbench.queue.devices.list_gpus", list)
    elsewhere = Nowhere()
    run_plan(plan_with(devices="cuda"), store, ignore, elsewhere)
    assert queue.executor is elsewhere
    assert queue.slots == []


def test_the_threads_are_chosen_once_per_folder(queue: Queue, store: Store, plan_with: Callable[..., Plan]) -> None:
    run_plan(plan_with(threads=2, workers=1), store, ignore)
    assert read_json(store.root / "kdbench.json")["threads"] == 2
    run_plan(plan_with(workers=1), store, ignore)
    assert [slot.threads for slot in queue.slots] == [2]


def test_other_threads_are_refused_before_anything_is_written(
    queue: Queue, store: Store, plan_with: Callable[..., Plan]
) -> None:
    store.setting("threads", 1)
    with pytest.raises(KdbenchError, match=r"run.threads is 2, but the runs in .* were trained with 1 per worker"):
        run_plan(plan_with(threads=2), store, ignore)
    assert queue.ran == 0
    assert list(store.indexes()) == []


def test_a_device_that_is_not_there_is_refused_before_anything_is_written(
    queue: Queue, store: Store, plan_with: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kdbench.queue.devices.list_gpus", list)
    with pytest.raises(KdbenchError, match=r'run\.devices is "cuda", but no NVIDIA GPU answers'):
        run_plan(plan_with(devices="cuda"), store, ignore)
    assert queue.ran == 0
    assert list(store.indexes()) == []


def test_a_folder_that_cannot_be_written_is_refused(
    queue: Queue, store: Store, plan_with: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, data: bytes) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "write_bytes", refuse)
    with pytest.raises(ResultsError, match=r"cannot be written \(Read-only file system\)"):
        run_plan(plan_with(), store, ignore)
    assert queue.ran == 0


def test_the_listener_hears_the_queue(queue: Queue, store: Store, plan_with: Callable[..., Plan]) -> None:
    heard: list[Event] = []
    run_plan(plan_with(), store, heard.append)
    assert heard == [ASKED]
