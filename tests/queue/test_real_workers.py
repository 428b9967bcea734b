"""Real workers that train a matrix with methods that fail, print, crash and leave children."""

import re
import sys

import pytest
from processes import has_exited

from kdbench.events import CohortStarted, RunFailed, RunTakenElsewhere, TimingStarted
from kdbench.matrix import parse
from kdbench.plan import make_plan
from kdbench.queue.costs import CostModel
from kdbench.queue.devices import Slot
from kdbench.queue.executors.local import LocalExecutor
from kdbench.queue.scheduler import Scheduler
from kdbench.queue.workload import Workload
from kdbench.results import Store
from kdbench.results.timings import read_timings
from kdbench.workload import queue_runs

pytestmark = pytest.mark.slow

OWN = '''
import os
import signal
import subprocess
from pathlib import Path
from typing import final

from kdbench.training.method import Method, Step


class Own(Method):
    """A custom method."""

    paper = "none"

    def __init__(self, student, teacher):
        super().__init__()
        self.student, self.teacher = student, teacher

    def steps(self, batch):
        print("noise on standard output")
        self.act()
        yield Step({"ce": self.student(batch.images).logits.square().mean()})

    def players(self):
        return {"student": self.student}

    def deployed(self):
        return {"student": self.student}


@final
class Raising(Own):
    def act(self):
        raise ValueError("no such thing")


@final
class Crashing(Own):
    """Starts a child process and crashes, every time."""

    def act(self):
        child = subprocess.Popen(["sleep", "600"])
        print("child", child.pid)
        os.kill(os.getpid(), signal.SIGSEGV)


@final
class Deadly(Own):
    """Kills its worker, but only the first time."""

    def act(self):
        marker = Path(__file__).with_name("killed")
        if not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
'''
MATRIX = {
    "name": "small",
    "datasets": ["digits"],
    "pairs": [{"teacher": "mlp_12", "student": "mlp_8"}],
    "recipe": {"epochs": 2, "batch_size": 50, "precision": "fp32", "train_samples": 100},
    "methods": {
        "vanilla": {},
        "logit_mse": {},
        "raising": {"method": "own_methods:Raising"},
        "deadly": {"method": "own_methods:Deadly"},
        "crashing": {"method": "own_methods:Crashing"},
    },
}


class Session:
    """A matrix, the events of its training, and its results."""

    def __init__(self, folder):
        self.plan = make_plan(parse(MATRIX, "small.toml"))
        self.store = Store(folder)
        self.ids = {"teacher" if cell.kind == "teacher" else cell.label: cell.runs[0].id for cell in self.plan.cells}
        self.events = []

    def run(self):
        """Train the pending runs; return the events."""
        work = Workload(queue_runs(self.plan, self.plan.runs), CostModel(self.store, "here"))
        self.events = []
        Scheduler(work, self.store, LocalExecutor([Slot("cpu", 1)], self.store), self.on_event).run()
        return self.events

    def on_event(self, event):
        """Finish `logit_mse` as another process would, once the worker finds it locked."""
        self.events.append(event)
        if isinstance(event, RunTakenElsewhere):
            self.store.write_result(event.run, {"status": "done", "row": {"host": "elsewhere"}})
            self.lock.release()


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    """The matrix, trained by two real workers: the first is killed during the cohort of the students."""
    folder = tmp_path_factory.mktemp("session")
    (folder / "own_methods.py").write_text(OWN)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KDBENCH_CACHE", str(folder / "cache"))
        patch.syspath_prepend(folder)
        trained = Session(folder / "results")
        trained.lock = trained.store.claim(trained.ids["logit_mse"])
        trained.run()
        yield trained
        sys.modules.pop("own_methods", None)


def test_results_are_written(session):
    for label in ("teacher", "scratch", "vanilla", "deadly"):
        result = session.store.result(session.ids[label])
        assert result["status"] == "done", label
        assert 0 <= result["row"]["test_accuracy"] <= 1, label
        assert (session.store.folder(session.ids[label]) / "weights.safetensors").exists(), label


def test_a_killed_worker_costs_an_attempt_and_its_runs_are_retried_alone(session):
    cohorts = [set(event.runs) for event in session.events if isinstance(event, CohortStarted)]
    students = {session.ids[label] for label in ("vanilla", "logit_mse", "raising", "deadly", "crashing")}
    alone = [{session.ids[label]} for label in ("scratch", "vanilla", "raising", "deadly", "crashing")]
    assert cohorts[:2] == [{session.ids["teacher"]}, {session.ids["scratch"], *students}]
    assert sorted(cohorts[2:], key=list) == sorted(alone, key=list)
    logs = (session.store.root / "workers").iterdir()
    assert len(list(logs)) == 3


def test_a_run_that_kills_its_worker_fails_with_the_end_of_the_log(session):
    crashing = session.ids["crashing"]
    assert session.store.state(crashing) == "failed"
    error = session.store.result(crashing)["error"]
    assert error.startswith("the worker died (signal 11); last lines of its log ")
    assert re.search(r"\.log: .*noise on standard output \| child \d+$", error)
    assert {event.run for event in session.events if isinstance(event, RunFailed)} == {
        crashing,
        session.ids["raising"],
    }


def test_child_processes_of_dead_workers_are_killed(session):
    text = "".join(path.read_text() for path in (session.store.root / "workers").iterdir())
    children = [int(pid) for pid in re.findall(r"child (\d+)", text)]
    assert children
    assert all(has_exited(pid) for pid in children)


def test_the_log_of_a_run_has_each_attempt_and_the_output_of_its_workers(session):
    log = (session.store.folder(session.ids["crashing"]) / "log.txt").read_text()
    assert [int(count) for count in re.findall(r"attempt (\d+): .*\.log from byte \d+$", log, re.MULTILINE)] == [1, 2]
    assert log.count("output of its worker:\n") == 2
    assert session.store.attempts(session.ids["crashing"]) == 2
    vanilla = (session.store.folder(session.ids["vanilla"]) / "log.txt").read_text()
    assert "noise on standard output" in vanilla  # of the cohort that died
    assert vanilla.index("attempt 1: ") < vanilla.index("attempt 2: ")


def test_a_method_that_raises_fails_alone_with_its_error(session):
    raising = session.ids["raising"]
    assert session.store.result(raising)["error"] == "ValueError: no such thing"
    log = (session.store.folder(raising) / "log.txt").read_text()
    assert 'raise ValueError("no such thing")' in log


def test_a_run_that_another_process_trains_is_not_trained_twice(session):
    taken = session.ids["logit_mse"]
    assert session.store.result(taken)["row"] == {"host": "elsewhere"}
    assert sorted(path.name for path in session.store.folder(taken).iterdir()) == ["lock", "result.json"]


def test_deployed_networks_are_timed_once_each(session):
    timed = [event.network for event in session.events if isinstance(event, TimingStarted)]
    assert sorted(timed) == ["mlp_12", "mlp_8"]
    key = session.store.result(session.ids["vanilla"])["architecture"]
    timings = {timing.architecture: timing.times for timing in read_timings(session.store.timings)}
    assert len(timings) == 2
    assert timings[key]["inference_ms"] > 0


def test_the_output_of_a_method_goes_to_the_log(session):
    text = "".join(path.read_text() for path in (session.store.root / "workers").iterdir())
    assert "noise on standard output" in text


def test_a_second_scheduler_does_nothing(session):
    assert session.run() == []
