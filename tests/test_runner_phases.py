"""Training a matrix with a search: its runs, the choices, and the runs that these add; the queue is a fake."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from plans import plan_of

from kdbench.events import Event, EventHandler, RunDone, WarningIssued
from kdbench.matrix import RunSpec
from kdbench.plan import Plan
from kdbench.queue.workload import Upcoming
from kdbench.results import Store
from kdbench.results.table import Row, read_rows
from kdbench.resume import finished_index
from kdbench.runner import train
from kdbench.workload import SearchedRuns

METHODS: dict[str, Any] = {"vanilla": {"alpha": [0.1, 0.5, 0.9]}, "logit_mse": {}}


def alpha(run: RunSpec) -> float | None:
    return float(run.hyperparameters.get("alpha", 0.0))


@dataclass
class FakeQueue:
    """Replaces `run_plan`; a run of which `score` returns None fails, `stop_at` interrupts the training."""

    score: Callable[[RunSpec], float | None] = alpha
    stop_at: int | None = None
    skipped: set[str] = field(default_factory=set)  # runs that cannot train
    phases: list[list[str]] = field(default_factory=list)  # the ids that each call trains, in their order
    events: list[Event] = field(default_factory=list)

    def __call__(
        self, plan: Plan, store: Store, on_event: EventHandler, executor: None = None, upcoming: Upcoming | None = None
    ) -> list[Row]:
        store.write_index(plan.index())
        self.phases.append([])
        pending = list(plan.runs)
        while pending:
            run = pending.pop(0)
            if store.is_finished(run.id) or run.id in self.skipped:
                continue
            if self.stop_at is not None and sum(map(len, self.phases)) == self.stop_at:
                raise KeyboardInterrupt
            score = self.score(run)
            result = {"status": "failed", "error": "NaN"} if score is None else {"status": "done"}
            store.write_spec(run)
            store.write_result(run.id, {**result, "row": {"val_accuracy": score}})
            self.phases[-1].append(run.id)
            on_event(RunDone(run.id))
            pending += [queued.spec for queued in upcoming.finish(run.id)] if upcoming else []
        return read_rows(store)

    def on_plan(self, plan: Plan) -> EventHandler:
        return self.events.append


@pytest.fixture
def queue(monkeypatch: pytest.MonkeyPatch) -> FakeQueue:
    fake = FakeQueue()
    monkeypatch.setattr("kdbench.runner.run_plan", fake)
    return fake


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


def search_plan() -> Plan:
    return plan_of(methods=METHODS, protocol={"search_seeds": [100, 101]})


def test_the_runs_of_a_choice_are_added_when_its_search_ends(queue: FakeQueue, store: Store) -> None:
    plan = search_plan()
    trained, _ = train(plan, store, queue.on_plan)
    (order,) = queue.phases
    assert sorted(order) == sorted(run.id for run in trained.runs)
    (sweep,) = trained.sweeps
    chosen = {run.id for run in sweep.report.runs.values()}
    assert alpha(sweep.report.first) == 0.9
    searched = [run.id for cell in sweep.search for run in cell.runs.values()]
    assert min(map(order.index, chosen)) > max(map(order.index, searched))
    assert store.index("m") == trained.index()


def test_until_its_search_ends_the_first_configuration_is_expected(store: Store) -> None:
    plan = search_plan()
    searched = SearchedRuns(plan, store, lambda plan: lambda event: None)
    (sweep,) = plan.sweeps
    runs = [run.id for cell in sweep.search for run in cell.runs.values()]
    expected = searched.expected()
    assert {run.id for run in expected} == {run.id for run in sweep.candidates[0][1].runs.values()}
    assert all(run.needs >= set(runs) for run in expected)
    for number, run in enumerate(runs):
        store.write_result(run, {"status": "done", "row": {"val_accuracy": number / len(runs)}})
        added = searched.finish(run)
        assert bool(added) == (run == runs[-1])
    assert {run.id for run in added} == {run.id for run in sweep.candidates[2][1].runs.values()}
    assert searched.expected() == []


def test_every_plan_with_more_runs_gets_a_handler(queue: FakeQueue, store: Store) -> None:
    sizes = []
    train(search_plan(), store, lambda plan: sizes.append(len(plan.runs)) or queue.events.append)
    assert len(sizes) == 2
    assert sizes[1] > sizes[0]


def test_a_search_with_a_run_that_cannot_train_is_decided_at_the_end(queue: FakeQueue, store: Store) -> None:
    plan = search_plan()
    (sweep,) = plan.sweeps
    queue.skipped = {run.id for run in sweep.candidates[2][0].runs.values()}
    trained, _ = train(plan, store, queue.on_plan)
    (decided,) = trained.sweeps
    assert alpha(decided.report.first) == 0.5
    assert len(queue.phases) == 2


@pytest.mark.parametrize("stop_at", [0, 3, 7, 8, 12])
def test_an_interrupted_matrix_is_resumed_in_either_phase(queue: FakeQueue, store: Store, stop_at: int) -> None:
    queue.stop_at = stop_at
    with pytest.raises(KeyboardInterrupt):
        train(search_plan(), store, queue.on_plan)
    queue.stop_at = None
    trained, _ = train(search_plan(), store, queue.on_plan)
    done = [run for phase in queue.phases for run in phase]
    assert len(done) == len(set(done))
    assert set(done) == {run.id for run in trained.runs}
    queue.phases.clear()
    assert train(search_plan(), store, queue.on_plan)[0].index() == trained.index()
    assert queue.phases == [[]]


def test_during_the_search_the_index_has_the_runs_of_both_phases(queue: FakeQueue, store: Store) -> None:
    queue.stop_at = 2
    with pytest.raises(KeyboardInterrupt):
        train(search_plan(), store, queue.on_plan)
    index = store.index("m")
    assert index == search_plan().index()
    assert index is not None
    assert (index.undecided, {cell.label for cell in index.cells if cell.phase == "report"}) == (
        1,
        {"teacher", "scratch", "logit_mse"},
    )


def test_a_matrix_is_not_finished_before_its_configurations_are_chosen(
    queue: FakeQueue, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Store, "is_complete", lambda *_: True)
    plan = search_plan()
    store.write_index(plan.index())
    assert finished_index(plan.matrix, store) is None
    trained, _ = train(plan, store, queue.on_plan)
    assert finished_index(plan.matrix, store) == trained.index()


def test_a_label_of_which_every_configuration_failed_is_a_warning(queue: FakeQueue, store: Store) -> None:
    queue.score = lambda run: None if run.seed >= 100 else 0.5
    trained, _ = train(search_plan(), store, queue.on_plan)
    assert [event.text for event in queue.events if isinstance(event, WarningIssued)] == [
        "vanilla on digits, cnn_8_16 -> mlp_16: no configuration is chosen, because all failed on protocol.search_seeds"
    ]
    assert [cell.label for cell in trained.cells if cell.phase == "report"] == ["teacher", "scratch", "logit_mse"]
    assert all(store.is_finished(run.id) for run in trained.runs)
