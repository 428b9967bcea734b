"""Runs that are given away to other workers have the same numbers as undisturbed ones."""

import gc
import shutil
from collections import Counter
from contextlib import suppress

import pytest
import torch
from same_runs import assert_same_runs

from kdbench.events import CheckpointSaved, CohortHalved, EpochEnded, RunDone, RunFailed, RunResumed, RunsGivenAway
from kdbench.methods import METHODS
from kdbench.plan import batches_key
from kdbench.results import Store
from kdbench.worker import cohort, run_writer
from kdbench.worker.cohort import CohortWorker
from kdbench.worker.job_runner import JobRunner

CPU = torch.device("cpu")
PAIR = ("cnn_6_6", "cnn_4_4")
RECIPE = {"epochs": 4}
ALL = {**{name: {} for name in METHODS}, "zskt": {"student_steps": 1}}
FEW = {"vanilla": {}, "rkd_da": {}, "dml": {}, "scratch": {}}
CASES = {
    "every method": (ALL, {"epochs": 3, "augment": ["translate"]}),
    "bf16, plateau": (FEW, {"epochs": 4, "precision": "bf16", "schedule": {"name": "plateau", "patience": 0}}),
    "early stopping": (FEW, {"epochs": 8, "early_stopping": {"patience": 1}, "optimizer": {"name": "adam", "lr": 0.1}}),
}


@pytest.fixture(autouse=True)
def no_collection(monkeypatch):
    """Skip garbage collections, which take most of the time of these tests."""
    monkeypatch.setattr(gc, "collect", lambda: 0)


class CrashError(Exception):
    """Stands for the death of a worker."""


class Workers:
    """Train runs in jobs, each on a new worker; runs that are given away train in a further job.

    `request` returns, at the start and at the end of each epoch, which of a job's unfinished runs it is to give away.
    `on_event` is called with each event, and may raise `CrashError`: then the worker dies.
    """

    def __init__(self, store, request, on_event=lambda event: None, log=None, **options):
        self.store, self.request, self.on_event, self.log, self.options = store, request, on_event, log, options
        self.events, self.jobs, self.left = [], [], []

    def train(self, *specs):
        pending = dict.fromkeys(specs)
        while pending:
            epoch = min(map(self.next_epoch, pending))
            job = [spec for spec in pending if self.next_epoch(spec) == epoch]
            self.run_job(job)
            pending = {spec: None for spec in pending if not self.store.is_finished(spec.id)}

    def next_epoch(self, spec):
        return self.store.next_epoch(spec.id)

    def run_job(self, specs):
        number = len(self.jobs) + 1
        assert number < 100, "runs are given away without progress"
        self.jobs.append([spec.id for spec in specs])
        self.left = list(self.jobs[-1])
        runner = JobRunner(str(self.store.root), "cpu", torch.get_num_threads(), self.log, self.handle, self.requested)
        job = {"id": number, "train": [spec.to_json() for spec in specs], "options": self.options}
        with suppress(CrashError):
            runner.run_job(job)

    def requested(self, job):
        assert job == len(self.jobs)
        return self.request(self.left)

    def handle(self, event):
        self.on_event(event)
        self.events.append(event)
        match event:
            case RunsGivenAway(_, runs, _):
                self.left = [run for run in self.left if run not in runs]
            case RunDone(run) | RunFailed(run):
                self.left.remove(run)

    def of_kind(self, kind):
        return [event for event in self.events if isinstance(event, kind)]


class EveryOther:
    """Half of the runs at every call, alternately the ones at even and at odd positions."""

    def __init__(self):
        self.calls = 0

    def __call__(self, runs):
        self.calls += 1
        return runs[self.calls % 2 :: 2]


def after_epoch(*runs):
    """Return a request for some runs at the end of the first epoch; an earlier call is before that epoch."""
    calls = []
    return lambda left: runs if len(calls.append(left) or calls) == 2 else ()


def cohorts_of(specs):
    """Return the runs in cohorts: with the same batches, and after the runs that they need."""
    cohorts, done = [], set()
    while left := [spec for spec in specs if spec.id not in done]:
        ready = [spec for spec in left if all(need.id in done for _, need in spec.needs)]
        cohorts.append([spec for spec in ready if batches_key(spec) == batches_key(ready[0])])
        done |= {spec.id for spec in cohorts[-1]}
    return cohorts


def train_undisturbed(store, specs):
    for runs in cohorts_of(specs):
        CohortWorker(runs, store, CPU, lambda event: None).train()


@pytest.mark.parametrize("case", CASES)
def test_runs_that_change_their_worker_at_every_epoch_have_the_same_numbers(case, plan_of, tmp_path):
    methods, recipe = CASES[case]
    specs = plan_of(methods, recipe, pair=PAIR).runs
    undisturbed, store = Store(tmp_path / "undisturbed"), Store(tmp_path / "given away")
    train_undisturbed(undisturbed, specs)
    workers = Workers(store, EveryOther())
    for runs in cohorts_of(specs):
        workers.train(*runs)
    assert_same_runs(specs, undisturbed, store)
    moves = Counter(run for event in workers.of_kind(RunsGivenAway) for run in event.runs if event.epoch)
    rows = [store.result(spec.id)["row"] for spec in specs]
    assert max(moves.values()) > 1
    assert {row["attempts"] for row in rows} == {1}
    assert min(row["epochs_run"] for row in rows) < recipe["epochs"] or case != "early stopping"


@pytest.fixture(scope="module")
def undisturbed(plan_of, tmp_path_factory):
    """Four students of four epochs, and a store in which they and their teacher were trained."""
    plan = plan_of(FEW, RECIPE, pair=PAIR)
    store = Store(tmp_path_factory.mktemp("undisturbed"))
    train_undisturbed(store, plan.runs)
    return [cell.runs[0] for label in FEW for cell in plan.cells if cell.label == label], store


@pytest.fixture
def workers(undisturbed, tmp_path):
    """`workers(request, on_event)`: workers with the trained teacher in their results folder."""
    specs, reference = undisturbed

    def make(request=lambda left: (), on_event=lambda event: None, **options):
        store = Store(tmp_path / "results")
        teacher = specs[0].teacher.id
        shutil.copytree(reference.folder(teacher), store.folder(teacher))
        return Workers(store, request, on_event, **options)

    return make


def test_a_run_that_is_given_away_is_free_and_checkpointed_when_the_event_is_emitted(undisturbed, workers):
    specs, _ = undisturbed
    given, kept = specs[0].id, [spec.id for spec in specs[1:]]
    states = []

    def on_event(event):
        if isinstance(event, RunsGivenAway):
            states.append((store.next_epoch(given), store.state(given), {store.state(run) for run in kept}))

    ours = workers(after_epoch(given), on_event, checkpoint_minutes=5.0)
    store = ours.store
    ours.run_job(specs)
    assert ours.of_kind(RunsGivenAway) == [RunsGivenAway(1, (given,), 1)]
    assert states == [(1, "pending", {"running"})]
    assert not ours.of_kind(CheckpointSaved)
    assert [event.runs for event in ours.of_kind(EpochEnded)] == [(given, *kept)] + [tuple(kept)] * 3
    assert {event.run for event in ours.of_kind(RunDone)} == set(kept)


def test_requests_for_runs_that_have_failed_or_that_the_job_does_not_have_are_ignored(undisturbed, workers, plan_of):
    specs, reference = undisturbed
    sgd = {"name": "sgd", "lr": 1e30, "momentum": 0.0, "weight_decay": 0.0}
    (failing,) = [run for run in plan_of({}, RECIPE | {"optimizer": sgd}, pair=PAIR).runs if run.stream == "student"]
    ours = workers(lambda left: [failing.id, "unknown"] if ours.of_kind(EpochEnded) else ())
    ours.run_job([failing, *specs])
    assert [event.run for event in ours.of_kind(RunFailed)] == [failing.id]
    assert not ours.of_kind(RunsGivenAway)
    assert_same_runs(specs, reference, ours.store)


def test_runs_of_the_last_epoch_are_not_given_away(undisturbed, workers):
    specs, _ = undisturbed
    ours = workers(lambda left: left if len(ours.of_kind(EpochEnded)) == 4 else ())
    ours.run_job(specs)
    assert not ours.of_kind(RunsGivenAway)
    assert len(ours.of_kind(RunDone)) == 4


def test_runs_that_are_requested_before_the_job_begins_are_given_away_at_once(undisturbed, workers):
    specs, _ = undisturbed
    given = [spec.id for spec in specs[:3]]
    ours = workers(lambda left: given)
    ours.run_job(specs)
    assert ours.of_kind(RunsGivenAway) == [RunsGivenAway(1, tuple(sorted(given)), 0)]
    assert {event.runs for event in ours.of_kind(EpochEnded)} == {(specs[3].id,)}


def test_a_job_that_gives_all_its_runs_away_ends(undisturbed, workers):
    specs, reference = undisturbed
    ours = workers(lambda left: left if len(ours.jobs) == 1 and ours.of_kind(EpochEnded) else ())
    ours.train(*specs)
    assert [event.epoch for event in ours.of_kind(EpochEnded)] == [1, 2, 3, 4]
    assert ours.jobs == [[spec.id for spec in specs]] * 2
    assert_same_runs(specs, reference, ours.store)


def test_runs_that_wait_for_the_first_half_are_given_away_at_once(undisturbed, workers, monkeypatch):
    """Two of four runs fit into memory."""
    specs, reference = undisturbed
    ids = [spec.id for spec in specs]

    def check_memory(member, count, device):
        if count > 2:
            raise MemoryError

    monkeypatch.setattr(cohort, "check_memory", check_memory)
    ours = workers(lambda left: (ids[0], ids[2]) if ours.of_kind(EpochEnded) else ())
    ours.run_job(specs)
    assert ours.of_kind(CohortHalved) == [CohortHalved(tuple(ids))]
    assert ours.of_kind(RunsGivenAway) == [RunsGivenAway(1, (ids[0],), 1), RunsGivenAway(1, (ids[2],), 0)]
    assert [event.runs for event in ours.of_kind(EpochEnded)][1:] == [(ids[1],)] * 3 + [(ids[3],)] * 4
    assert ours.store.attempts(ids[2]) == 1
    ours.request = lambda left: ()
    ours.train(specs[0], specs[2])
    assert_same_runs(specs, reference, ours.store)


def test_runs_that_wait_with_other_checkpoints_are_given_away_at_once(undisturbed, workers):
    specs, reference = undisturbed
    ours = workers(lambda left: [specs[0].id] if len(ours.of_kind(EpochEnded)) == 2 else (), checkpoint_minutes=0.0)
    ours.on_event = crash_at(EpochEnded, 2)
    ours.run_job(specs[:2])
    ours.run_job(specs)  # the others train first, from epoch 0
    assert ours.of_kind(RunsGivenAway) == [RunsGivenAway(2, (specs[0].id,), 1)]
    ours.request = lambda left: ()
    ours.train(specs[0])
    assert_same_runs(specs, reference, ours.store)


def crash_at(kind, number=1):
    """Return a handler of events that raises `CrashError` when it gets an event of a kind for the n-th time."""
    found = []

    def on_event(event):
        found.extend([event] if isinstance(event, kind) else [])
        if len(found) == number:
            found.append(None)
            raise CrashError

    return on_event


@pytest.mark.parametrize(
    ("kind", "number", "attempts"),
    [
        pytest.param(RunsGivenAway, 1, 2, id="before the event of the runs"),
        pytest.param(EpochEnded, 2, 2, id="after the event of the runs"),
        pytest.param(RunResumed, 1, 2, id="when the second worker resumes"),
        pytest.param(EpochEnded, 5, 2, id="at the first epoch of the second worker"),
    ],
)
def test_a_death_while_runs_change_their_worker_changes_no_number(undisturbed, workers, kind, number, attempts):
    specs, reference = undisturbed
    given = [spec.id for spec in specs[::2]]
    ours = workers(lambda left: given if ours.of_kind(EpochEnded) and len(ours.jobs) == 1 else ())
    ours.on_event = crash_at(kind, number)
    ours.train(*specs)
    assert_same_runs(specs, reference, ours.store)
    assert {ours.store.attempts(run) for run in given} <= {1, attempts}
    resumed = [event for event in ours.of_kind(RunResumed) if event.run in given]
    assert {event.epoch for event in resumed} == {2}


def test_a_result_row_is_that_of_all_cohorts_of_a_run(undisturbed, workers, monkeypatch):
    """The second cohort has one run, and its worker uses less memory."""
    specs, _ = undisturbed
    given, started = specs[0], iter(["2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z"])
    memory = iter([900.0] * 4 + [500.0] * 8)
    ours = workers(after_epoch(given.id))
    monkeypatch.setattr(cohort, "now", lambda: next(started))
    for module in (cohort, run_writer):
        monkeypatch.setattr(module, "peak_memory_mb", lambda device: next(memory, 500.0))
    ours.run_job(specs)
    ours.run_job([given])
    row = ours.store.result(given.id)["row"]
    assert (row["cohort_size"], row["peak_memory_mb"], row["started"]) == (4, 900.0, "2026-01-01T00:00:00Z")
    assert row["environment_changes"] is None


@pytest.mark.parametrize("gigabytes", [0.0, 1.0])
def test_the_seconds_of_both_workers_count_once(tmp_path, plan_of, stop_clock, gigabytes):
    """Every forward pass of the teacher takes 1 s on a clock that stands still otherwise."""
    plan, store = plan_of({"vanilla": {}}, {"epochs": 4}, pair=("cnn_4_8", "mlp_8")), Store(tmp_path)
    teacher, scratch, vanilla = (cell.runs[0] for cell in plan.cells)
    train_undisturbed(store, [teacher])
    stop_clock()
    Workers(store, after_epoch(vanilla.id), teacher_cache_gb=gigabytes).train(scratch, vanilla)
    seconds = {spec.method: store.result(spec.id)["row"]["train_seconds"] for spec in (scratch, vanilla)}
    assert seconds == {"scratch": 0.0, "vanilla": 4 * 2 * 1.0}


def test_a_run_has_the_output_of_a_worker_until_it_is_given_away(undisturbed, workers, tmp_path):
    specs, _ = undisturbed
    log = tmp_path / "worker.log"

    def on_event(event):
        if isinstance(event, EpochEnded):
            with log.open("a") as file:
                file.write(f"output of epoch {event.epoch} of {len(event.runs)} runs\n")

    ours = workers(after_epoch(specs[0].id), on_event, log=log)
    ours.train(*specs[:2])
    given, kept = ((ours.store.folder(spec.id) / "log.txt").read_text() for spec in specs[:2])
    lines = [f"output of epoch {epoch} of {count} runs" for epoch, count in [(1, 2), (2, 1), (3, 1), (4, 1)]]
    assert [kept.count(line) for line in lines] == [1, 1, 1, 1]
    assert [given.count(line) for line in lines] == [1, 1, 1, 1]
    assert "given away after epoch 1" in given
    assert given.count("attempt 1: ") == 2
    first, second = given.split("given away after epoch 1")
    assert [line in first for line in lines] == [True, False, False, False]
    assert [line in second for line in lines] == [False, True, True, True]
