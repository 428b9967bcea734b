"""`kdbench run` as a process that can be hurt, and the numbers that it would have given undisturbed."""

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
MOMENTS = int(os.environ.get("KDBENCH_FAULTS", "3"))  # random moments of each kind; more of them in scripts/stress
EPOCHS = max(40, 6 * MOMENTS)  # so many that no moment comes too late
SEED = int(os.environ.get("KDBENCH_FAULTS_SEED", "0"))
PATIENCE = 150  # seconds that a run of the matrix may take on a busy machine

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

# What depends on the machine, on the moment or on the company, and is no result.
INCIDENTAL = {"train_seconds", "throughput", "peak_memory_mb", "attempts", "cohort_size", "threads"}
INCIDENTAL |= {"host", "git_commit", "started", "finished", "matrix", "label"}


@dataclass(frozen=True)
class Ran:
    """How a command went."""

    status: int
    said: str
    seconds: float


@dataclass
class Bench:
    """A folder with a matrix, its results, and commands that run there as processes."""

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
        """Begin a command; `run` of the matrix if not told otherwise."""
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

    def run(self, *arguments: str) -> Ran:
        """A command to its end."""
        began = time.monotonic()
        return self.ended(self.start(*arguments), began)

    def ended(self, process: subprocess.Popen[str], since: float, timeout: float = PATIENCE) -> Ran:
        """Wait for the end of a command; `since`: what its seconds count from."""
        said, _ = process.communicate(timeout=timeout)
        return Ran(process.returncode, said, time.monotonic() - since)

    def workers(self) -> list[int]:
        """The processes that work for this folder now, guards included."""
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

    def until(self, holds: Callable[[], Any], seconds: float = PATIENCE) -> Any:
        """Wait until something holds, and give it."""
        deadline = time.monotonic() + seconds
        while not (found := holds()):
            assert time.monotonic() < deadline, f"did not happen within {seconds} s"
            time.sleep(0.05)
        return found

    def done(self) -> list[str]:
        """The runs that are done."""
        return [path.parent.name for path in self.results.glob("runs/*/result.json")]

    def checkpoints(self) -> list[Path]:
        """The newest checkpoint of each run that has one."""
        return sorted(self.results.glob("runs/*/checkpoint.pt"))

    def progress(self) -> set[tuple[str, int]]:
        """What changes whenever an epoch has been saved or a run has ended."""
        found = set()
        for path in [*self.checkpoints(), *self.results.glob("runs/*/result.json")]:
            with suppress(FileNotFoundError):
                found.add((str(path), path.stat().st_mtime_ns))
        return found

    def attempts(self) -> dict[str, int]:
        """How often each run was begun."""
        store = self.store
        return {run: store.attempts(run) for run in store.run_ids()}

    def numbers(self) -> "Numbers":
        """All that the runs gave."""
        return Numbers.of(self.results)


@dataclass(frozen=True)
class Numbers:
    """What must be the same whatever happened: rows, epochs, weights."""

    rows: pd.DataFrame
    epochs: pd.DataFrame
    weights: dict[str, str]

    @staticmethod
    def of(results: Path) -> "Numbers":
        rows = pd.read_parquet(results / "results.parquet").set_index("run_id").sort_index()
        epochs = pd.read_parquet(results / "history.parquet").sort_values(["run_id", "epoch"])
        files = results.glob("runs/*/weights.safetensors")
        return Numbers(
            rows.drop(columns=[c for c in rows if c in INCIDENTAL or c.startswith("inference_ms")]),
            epochs.drop(columns="seconds").set_index(["run_id", "epoch"]).sort_index(axis=1),
            {file.parent.name: sha256(file.read_bytes()).hexdigest() for file in files},
        )

    def only(self, runs: Sequence[str]) -> "Numbers":
        """Those of some runs."""
        kept = [run for run in self.rows.index if run in set(runs)]
        epochs = self.epochs[self.epochs.index.get_level_values("run_id").isin(kept)]
        rows = self.rows.loc[kept].dropna(axis=1, how="all").sort_index(axis=1)
        return Numbers(rows, epochs.dropna(axis=1, how="all"), {run: self.weights[run] for run in kept})

    def check_same(self, other: "Numbers") -> None:
        """Bit for bit."""
        pd.testing.assert_frame_equal(self.rows, other.rows, check_exact=True, check_dtype=False)
        pd.testing.assert_frame_equal(self.epochs, other.epochs, check_exact=True, check_dtype=False)
        assert self.weights == other.weights


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """One cache for all, and no folder of the user's."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("KDBENCH_")}
    return {**kept, "KDBENCH_CACHE": str(tmp_path_factory.mktemp("cache")), "PYTHONPATH": str(ROOT)}


def make(folder: Path, environment: dict[str, str], matrix: str = MATRIX) -> Bench:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "faults.toml").write_text(matrix, encoding="utf-8")
    return Bench(folder, dict(environment))


def end(bench: Bench) -> None:
    for process in bench.started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    for pid in bench.workers():
        os.kill(pid, signal.SIGKILL)


@dataclass(frozen=True)
class Undisturbed:
    """The matrix as it goes when nobody harms it."""

    folder: Path
    numbers: Numbers
    seconds: float

    @property
    def results(self) -> Path:
        return self.folder / "results"


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, environment: dict[str, str]) -> Undisturbed:
    """The reference; to be looked at and copied, not changed."""
    made = make(tmp_path_factory.mktemp("undisturbed"), environment)
    ran = made.run()
    assert ran.status == 0, ran.said
    numbers = made.numbers()
    assert len(numbers.rows) == 7
    assert set(numbers.rows["status"]) == {"done"}
    return Undisturbed(made.folder, numbers, ran.seconds)


@pytest.fixture
def moments(request: pytest.FixtureRequest) -> random.Random:
    """Random, and the same every time that a test is run with one seed."""
    return random.Random(f"{SEED} {request.node.name}")


@pytest.fixture
def bench(tmp_path: Path, undisturbed: Undisturbed, environment: dict[str, str]) -> Iterator[Bench]:
    """A folder with the matrix and no run; whatever was started in it is gone in the end."""
    made = make(tmp_path, environment)
    shutil.copytree(undisturbed.results / "timings", made.results / "timings")  # what is known is not timed again
    yield made
    end(made)


@pytest.fixture
def finished(tmp_path: Path, undisturbed: Undisturbed, environment: dict[str, str]) -> Iterator[Bench]:
    """A copy of the undisturbed runs, to be corrupted."""
    shutil.copytree(undisturbed.folder, tmp_path, dirs_exist_ok=True)
    made = make(tmp_path, environment)
    yield made
    end(made)


@pytest.fixture
def times() -> int:
    """How often something happens at a random moment."""
    return MOMENTS
