"""Worker processes: small scripts in their place first, then two real ones that train a matrix."""

import os
import platform
import re
import select
import sys
import time
from pathlib import Path

import pytest

from kdbench.errors import KdbenchError
from kdbench.matrix import parse
from kdbench.plan import batches_key, make_plan
from kdbench.queue.cohorts import Item
from kdbench.queue.devices import Slot
from kdbench.queue.executor import Job
from kdbench.queue.local import Local
from kdbench.queue.scheduler import Scheduler
from kdbench.queue.worker import Worker
from kdbench.results import Store

SLOT = Slot("cpu", 3, {"CUDA_VISIBLE_DEVICES": "GPU-a"})


@pytest.fixture
def script(tmp_path, store, monkeypatch):
    """`script(text)`: a worker that runs a shell script instead of Python."""
    started = []

    def make(text):
        file = tmp_path / "python"
        file.write_text(f"#!/bin/sh\n{text}\n")
        file.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(file))
        started.append(Worker(SLOT, store))
        return started[-1]

    yield make
    for worker in started:
        worker.kill()
        worker.end(time.monotonic())


def heard(worker, count=None):
    """The first `count` events, or all until the worker ends."""
    found = []
    while count is None or len(found) < count:
        select.select([worker.output], [], [], 0.2)
        found += worker.events()
        if worker.has_ended:
            break
    return found


def test_a_worker_is_told_where_and_how_to_train(script, store):
    worker = script("""echo '{"event": "x", "arguments": "'"$@"'", "threads": "'$OMP_NUM_THREADS'"}'""")
    (event,) = heard(worker)
    assert event["arguments"] == f"-P -m kdbench.run --results {store.root} --device cpu --threads 3 --log {worker.log}"
    assert event["threads"] == "3"


def test_a_workers_environment_is_ours_with_the_slots_and_our_import_path(script, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", ["", str(tmp_path), "relative"])
    monkeypatch.setenv("MINE", "1")
    worker = script("""echo '{"event": "x", "path": "'$PYTHONPATH'", "mine": "'$MINE$CUDA_VISIBLE_DEVICES'"}'""")
    (event,) = heard(worker)
    assert event["path"] == os.pathsep.join([str(Path.cwd()), str(tmp_path), "relative"])
    assert event["mine"] == "1GPU-a"


def test_a_job_is_a_line_and_idle_ends_it(script, item):
    worker = script("""read job; echo '{"event": "got", "job": '"$job"'}'; echo '{"event": "idle"}'; read job""")
    job = Job(7, (item("a").spec,), options={"checkpoint_minutes": 2.0})
    worker.begin(job)
    assert worker.job is job
    got, idle = heard(worker, 2)
    assert got["job"] == {"id": 7, "train": [job.specs[0].to_json()], "options": {"checkpoint_minutes": 2.0}}
    assert idle == {"event": "idle", "job": 7}
    assert worker.job is None


def test_a_job_that_times_has_one_spec(item):
    spec = item("a").spec
    assert Job(1, (spec,), "time").message() == {"id": 1, "time": spec.to_json()}


def test_a_worker_has_trained_once_it_tells_of_an_epoch_of_its_job(script, item):
    told = """echo '{"event": "ready"}'; read job; echo '{"event": "epoch"}'; echo '{"event": "idle"}'; read job"""
    worker = script(told)
    heard(worker, 1)
    assert (worker.ready, worker.has_trained) == (True, False)
    worker.begin(Job(1, (item("a").spec,)))
    heard(worker, 2)
    assert worker.has_trained
    worker.begin(Job(2, (item("b").spec,)))
    assert not worker.has_trained


def test_a_half_written_line_waits_for_its_other_half(script, item):
    worker = script("""printf '{"event": "a"}\\n{"eve'; read job; printf 'nt": "b"}\\n'""")
    assert heard(worker, 1) == [{"event": "a"}]
    worker.begin(Job(1, (item("a").spec,)))
    assert heard(worker) == [{"event": "b"}]


def test_a_death_tells_how_and_the_end_of_the_log(script):
    worker = script("for i in 1 2 3 4 5 6 7; do echo line $i >&2; done; exit 3")
    assert heard(worker) == []
    assert worker.death().startswith("the worker died (exit status 3); its log ")
    assert worker.death().endswith("ends: line 3 | line 4 | line 5 | line 6 | line 7")


def test_a_kill_is_told_as_a_signal(script):
    worker = script("kill -9 $$")
    assert heard(worker) == []
    assert worker.death() == f"the worker died (signal 9); its log {worker.log} ends: (empty)"


def test_a_job_for_a_dead_worker_is_no_error(script, item):
    worker = script("exit 1")
    assert heard(worker) == []
    worker.death()
    worker.begin(Job(1, (item("a").spec,)))
    assert worker.events() == []
    assert worker.has_ended
    worker.end(time.monotonic())
    assert worker.output.closed


def test_a_worker_that_is_asked_to_leave_does(script):
    worker = script("sleep 60")
    worker.ask_to_leave()
    worker.end(time.monotonic() + 20)
    assert worker.death().startswith("the worker died (signal 15)")


def test_a_worker_that_does_not_leave_is_killed(script):
    worker = script("trap '' TERM; echo '{\"event\": \"ready\"}'; while :; do sleep 0.1; done")
    heard(worker, 1)
    worker.ask_to_leave()
    worker.end(time.monotonic() + 0.2)
    assert worker.death().startswith("the worker died (signal 9)")


def test_the_end_of_a_worker_is_seen_although_a_child_keeps_its_output_open_and_the_child_ends_too(script):
    worker = script('sleep 60 & echo \'{"event": "child", "pid": \'$!\'}\'; exit 3')
    (event,) = heard(worker)
    assert worker.death().startswith("the worker died (exit status 3)")
    assert has_gone(event["pid"])


def test_logs_of_workers_bear_the_host_and_differ(script):
    first, second = script("exit 0"), script("exit 0")
    assert first.log.name.startswith(f"{platform.node()}-{os.getpid()}-")
    assert first.log != second.log


def test_a_machine_that_starts_no_process_is_named(store, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    with pytest.raises(KdbenchError, match=r"^no worker process can be started \(.*No such file.*; lower run.workers$"):
        Worker(SLOT, store)


def has_gone(pid, patience=5.0):
    """Whether a process is no more, or is soon."""
    until = time.monotonic() + patience
    while time.monotonic() < until:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return True
        if state in "ZX":  # it has ended, and nobody asked how
            return True
        time.sleep(0.02)
    return False


OWN = '''
import os
import signal
import subprocess
from pathlib import Path
from typing import final

from kdbench.training.method import Method, Step


class Own(Method):
    """A method of the user's."""

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

    def graduates(self):
        return {"student": self.student}


@final
class Raising(Own):
    def act(self):
        raise ValueError("no such thing")


@final
class Crashing(Own):
    """Leaves a child behind and crashes, each time."""

    def act(self):
        child = subprocess.Popen(["sleep", "600"])
        print("child", child.pid)
        os.kill(os.getpid(), signal.SIGSEGV)


@final
class Deadly(Own):
    """Kills its worker, the first time."""

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
    """A matrix, what was told while it ran, and what it left."""

    def __init__(self, folder):
        self.plan = make_plan(parse(MATRIX, "small.toml"))
        self.store = Store(folder)
        self.ids = {"teacher" if cell.kind == "teacher" else cell.label: cell.runs[0].id for cell in self.plan.cells}
        self.told = []

    def run(self):
        """What the scheduler tells when it runs everything that waits."""
        items = [Item(spec, batches_key(spec)) for spec in self.plan.runs]
        self.told = []
        Scheduler(items, self.store, Local([Slot("cpu", 1)], self.store), self.hear).run()
        return self.told

    def hear(self, event):
        """Another process, played by this one, trains `logit_mse`: it ends when our worker finds it taken."""
        self.told.append(event)
        if event["event"] == "taken":
            self.store.write_result(event["run"], {"status": "done", "row": {"host": "elsewhere"}})
            self.lock.release()


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    """The matrix, trained by two real workers: the first is killed in the cohort of the students."""
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


def test_results_appear(session):
    for label in ("teacher", "scratch", "vanilla", "deadly"):
        result = session.store.result(session.ids[label])
        assert result["status"] == "done", label
        assert 0 <= result["row"]["test_accuracy"] <= 1, label
        assert (session.store.folder(session.ids[label]) / "weights.safetensors").exists(), label


def test_a_killed_worker_costs_an_attempt_and_the_next_one_finishes(session):
    handed = [set(event["runs"]) for event in session.told if event["event"] == "cohort"]
    students = {session.ids[label] for label in ("vanilla", "logit_mse", "raising", "deadly", "crashing")}
    alone = [{session.ids[label]} for label in ("vanilla", "raising", "deadly", "crashing")]
    assert handed[:2] == [{session.ids["teacher"], session.ids["scratch"]}, students]
    assert sorted(handed[2:], key=list) == sorted(alone, key=list)
    logs = (session.store.root / "workers").iterdir()
    assert len(list(logs)) == 3


def test_the_run_that_kills_its_worker_is_found_and_fails_with_the_tail_of_the_log(session):
    crashing = session.ids["crashing"]
    assert session.store.state(crashing) == "failed"
    error = session.store.result(crashing)["error"]
    assert error.startswith("the worker died (signal 11); its log ")
    assert re.search(r"ends: .*noise on standard output \| child \d+$", error)
    assert {event["run"] for event in session.told if event["event"] == "failed"} == {
        crashing,
        session.ids["raising"],
    }


def test_the_children_of_dead_workers_die_with_them(session):
    text = "".join(path.read_text() for path in (session.store.root / "workers").iterdir())
    children = [int(pid) for pid in re.findall(r"child (\d+)", text)]
    assert children
    assert all(has_gone(pid) for pid in children)


def test_the_log_of_a_run_tells_each_attempt_and_what_its_workers_printed(session):
    log = (session.store.folder(session.ids["crashing"]) / "log.txt").read_text()
    assert [int(count) for count in re.findall(r"attempt (\d+): .*\.log from byte \d+$", log, re.MULTILINE)] == [1, 2]
    assert log.count("its worker printed:\n") == 2
    assert session.store.attempts(session.ids["crashing"]) == 2
    vanilla = (session.store.folder(session.ids["vanilla"]) / "log.txt").read_text()
    assert "noise on standard output" in vanilla  # of the cohort that died
    assert vanilla.index("attempt 1: ") < vanilla.index("attempt 2: ")


def test_a_failing_method_fails_alone_with_its_error(session):
    raising = session.ids["raising"]
    assert session.store.result(raising)["error"] == "ValueError: no such thing"
    log = (session.store.folder(raising) / "log.txt").read_text()
    assert 'raise ValueError("no such thing")' in log


def test_a_run_that_another_process_trains_is_not_trained_twice(session):
    taken = session.ids["logit_mse"]
    assert session.store.result(taken)["row"] == {"host": "elsewhere"}
    assert sorted(path.name for path in session.store.folder(taken).iterdir()) == ["lock", "result.json"]


def test_deployed_networks_are_timed_once_each(session):
    timed = [event["student"] for event in session.told if event["event"] == "timing"]
    assert sorted(timed) == ["mlp_12", "mlp_8"]
    key = session.store.result(session.ids["vanilla"])["architecture"]
    assert session.store.timing(key)["inference_ms"] > 0


def test_what_a_method_prints_goes_to_the_log(session):
    text = "".join(path.read_text() for path in (session.store.root / "workers").iterdir())
    assert "noise on standard output" in text


def test_a_second_run_does_nothing(session):
    assert session.run() == []
