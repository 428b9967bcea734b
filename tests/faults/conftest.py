"""`kdbench run` as a process with injected faults, and the numbers of a reference without faults."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import kdbench
from kdbench.results import Store

ROOT = Path(kdbench.__file__).parent.parent
REPETITIONS = int(os.environ.get("KDBENCH_FAULTS", "3"))  # faults at random times per test; scripts/stress sets more
EPOCHS = max(40, 6 * REPETITIONS)  # enough that the matrix does not finish before the last fault
SEED = int(os.environ.get("KDBENCH_FAULTS_SEED", "0"))
TIMEOUT = 150  # seconds for a run of the matrix on a busy machine

MATRIX = f"""
name = "faults"
seeds = [0, 1]
datasets = ["digits"]
pairs = [{{ teacher = "cnn_8_16", student = "mlp_16" }}]

[recipe]
epochs = {EPOCHS}
batch_size = 32
train_samples = 600
precision = "fp32"
optimizer = {{ name = "adamw", lr = 1e-2 }}

[methods.vanilla]
alpha = [0.5, 0.9]

[run]
devices = "cpu"
workers = 2
checkpoint_minutes = 0.0
"""

# Columns that depend on the machine, the time or the cohort, and are not compared.
VARIABLE_COLUMNS = {"train_seconds", "throughput", "peak_memory_mb", "attempts", "cohort_size", "threads"}
VARIABLE_COLUMNS |= {"host", "git_commit", "started", "finished", "matrix", "label", "timing_measured"}


@dataclass(frozen=True)
class Completed:
    """The exit status, output and duration of a command."""

    status: int
    output: str
    seconds: float


@dataclass
class Sandbox:
    """A folder with a matrix and its results, and the processes started in it."""

    folder: Path
    environment: dict[str, str]
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def results(self) -> Path:
        return self.folder / "results"

    @property
    def store(self) -> Store:
        return Store(self.results, create=False)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a command, by default `kdbench run` of the matrix."""
        process = subprocess.Popen(
            [sys.executable, "-m", "kdbench", *(arguments or ("run", "faults.toml"))],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.started.append(process)
        return process

    def run(self, *arguments: str) -> Completed:
        """Run a command to its end."""
        start = time.monotonic()
        return self.wait(self.start(*arguments), start)

    def wait(self, process: subprocess.Popen[str], since: float, timeout: float = TIMEOUT) -> Completed:
        """Wait for the end of a command; its seconds count from `since`."""
        output, _ = process.communicate(timeout=timeout)
        return Completed(process.returncode, output, time.monotonic() - since)

    def worker_pids(self) -> list[int]:
        """Return the processes that work for this folder, watchdogs included."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and self._is_worker(entry):
                found.append(int(entry.name))
        return found

    def _is_worker(self, entry: Path) -> bool:
        try:
            called = (entry / "cmdline").read_bytes().split(b"\0")
            return b"kdbench.worker" in called and (entry / "cwd").resolve() == self.folder.resolve()
        except OSError:
            return False

    def wait_until(self, condition: Callable[[], Any], seconds: float = TIMEOUT) -> Any:
        """Wait until `condition` returns a true value; return the value."""
        deadline = time.monotonic() + seconds
        while not (value := condition()):
            assert time.monotonic() < deadline, f"did not happen within {seconds} s"
            time.sleep(0.05)
        return value

    def done_runs(self) -> list[str]:
        """Return the ids of the finished runs."""
        return [path.parent.name for path in self.results.glob("runs/*/result.json")]

    def checkpoints(self) -> list[Path]:
        """Return the newest checkpoint of each run that has one."""
        return sorted(self.results.glob("runs/*/checkpoint.pt"))

    def progress(self) -> set[tuple[str, int]]:
        """Return a value that changes when a checkpoint is saved or a run finishes."""
        found = set()
        for path in [*self.checkpoints(), *self.results.glob("runs/*/result.json")]:
            with suppress(FileNotFoundError):
                found.add((str(path), path.stat().st_mtime_ns))
        return found

    def attempts(self) -> dict[str, int]:
        """Return the number of attempts of each run."""
        store = self.store
        return {run: store.attempts(run) for run in store.run_ids()}

    def numbers(self) -> "Numbers":
        """Return the results of all runs."""
        return Numbers.of(self.results)


@dataclass(frozen=True)
class Numbers:
    """The results that no fault may change: rows, epochs, hashes of weights and predictions."""

    rows: pd.DataFrame
    epochs: pd.DataFrame
    files: dict[tuple[str, str], str]

    @staticmethod
    def of(results: Path) -> "Numbers":
        rows = pd.read_parquet(results / "results.parquet").set_index("run_id").sort_index()
        epochs = pd.read_parquet(results / "history.parquet").sort_values(["run_id", "epoch"])
        files = results.glob("runs/*/*.safetensors")
        return Numbers(
            rows.drop(columns=[c for c in rows if c in VARIABLE_COLUMNS or c.startswith("inference_ms")]),
            epochs.drop(columns="seconds").set_index(["run_id", "epoch"]).sort_index(axis=1),
            {(file.parent.name, file.name): sha256(file.read_bytes()).hexdigest() for file in files},
        )

    def only(self, runs: Sequence[str]) -> "Numbers":
        """Return the results of some runs."""
        kept = [run for run in self.rows.index if run in set(runs)]
        epochs = self.epochs[self.epochs.index.get_level_values("run_id").isin(kept)]
        rows = self.rows.loc[kept].dropna(axis=1, how="all").sort_index(axis=1)
        files = {key: value for key, value in self.files.items() if key[0] in kept}
        return Numbers(rows, epochs.dropna(axis=1, how="all"), files)

    def check_same(self, other: "Numbers") -> None:
        """Assert that all results are equal bit for bit."""
        pd.testing.assert_frame_equal(self.rows, other.rows, check_exact=True, check_dtype=False)
        pd.testing.assert_frame_equal(self.epochs, other.epochs, check_exact=True, check_dtype=False)
        assert self.files == other.files


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of all commands: a shared cache, and no variables of the user."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("KDBENCH_")}
    return {**kept, "KDBENCH_CACHE": str(tmp_path_factory.mktemp("cache")), "PYTHONPATH": str(ROOT)}


def create_sandbox(folder: Path, environment: dict[str, str], matrix: str = MATRIX) -> Sandbox:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "faults.toml").write_text(matrix, encoding="utf-8")
    return Sandbox(folder, dict(environment))


def kill_all(sandbox: Sandbox) -> None:
    for process in sandbox.started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    for pid in sandbox.worker_pids():
        os.kill(pid, signal.SIGKILL)


@dataclass(frozen=True)
class Reference:
    """The matrix, trained without faults."""

    folder: Path
    numbers: Numbers
    seconds: float

    @property
    def results(self) -> Path:
        return self.folder / "results"


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory, environment: dict[str, str]) -> Reference:
    """The matrix, trained without faults; read-only."""
    sandbox = create_sandbox(tmp_path_factory.mktemp("reference"), environment)
    completed = sandbox.run()
    assert completed.status == 0, completed.output
    numbers = sandbox.numbers()
    assert len(numbers.rows) == 7
    assert set(numbers.rows["status"]) == {"done"}
    return Reference(sandbox.folder, numbers, completed.seconds)


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> random.Random:
    """A random generator that depends on the seed and on the name of the test."""
    return random.Random(f"{SEED} {request.node.name}")


@pytest.fixture
def sandbox(tmp_path: Path, reference: Reference, environment: dict[str, str]) -> Iterator[Sandbox]:
    """A folder with the matrix and no run; its processes are killed at the end of the test."""
    sandbox = create_sandbox(tmp_path, environment)
    shutil.copytree(reference.results / "timings", sandbox.results / "timings")  # networks are not timed again
    yield sandbox
    kill_all(sandbox)


@pytest.fixture
def finished(tmp_path: Path, reference: Reference, environment: dict[str, str]) -> Iterator[Sandbox]:
    """A copy of the reference, in which tests corrupt files."""
    shutil.copytree(reference.folder, tmp_path, dirs_exist_ok=True)
    sandbox = create_sandbox(tmp_path, environment)
    yield sandbox
    kill_all(sandbox)


@pytest.fixture
def repetitions() -> int:
    """How often a test injects its fault."""
    return REPETITIONS
