"""A way to call kdbench, and one small matrix that is run once and read by many tests."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import kdbench
from kdbench.cli.app import app
from kdbench.results import Store

ROOT = Path(kdbench.__file__).parent.parent

MATRIX = """
name = "tiny"
seeds = [0, 1]
datasets = ["digits"]
pairs = [{ teacher = "cnn_8_16", student = "mlp_16" }]

[recipe]
epochs = 2
batch_size = 32
train_samples = 100
precision = "fp32"
optimizer = { name = "adamw", lr = 1e-2 }

[methods.vanilla]
alpha = [0.5, 0.9]

[methods."vanilla + rkd_da"]
vanilla.alpha = 0.5

[methods.attention]

[run]
devices = "cpu"
workers = 1
"""


@dataclass(frozen=True)
class Result:
    """The outcome of a command."""

    status: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The only line on stderr, without "error: "."""
        (line,) = self.err.splitlines()
        return line.removeprefix("error: ")

    @property
    def json(self) -> Any:
        """What was printed to stdout, parsed as JSON."""
        return json.loads(self.out)


@dataclass(frozen=True)
class TinyMatrix:
    """The small matrix after its run."""

    folder: Path
    result: Result

    @property
    def matrix(self) -> Path:
        return self.folder / "tiny.toml"

    @property
    def results(self) -> Path:
        return self.folder / "results"

    @property
    def reports(self) -> Path:
        return self.folder / "reports"

    def run_of(self, label: str) -> str:
        """The id of the first run of a label."""
        index = Store(self.results, create=False).index("tiny")
        assert index is not None
        return next(next(iter(cell.runs.values())) for cell in index.cells if cell.label == label)

    def rows(self) -> list[dict[str, Any]]:
        """The rows of results.parquet."""
        rows: list[dict[str, Any]] = pq.read_table(self.results / "results.parquet").to_pylist()
        return rows

    def scores(self, results: Path | None = None) -> list[tuple[Any, ...]]:
        """Id, status and metrics of every run in results.parquet of this or of another results folder."""
        names = ("run_id", "test_accuracy", "test_nll", "val_accuracy", "status")
        rows = pq.read_table((results or self.results) / "results.parquet", columns=list(names)).to_pylist()
        return sorted(tuple(row[name] for name in names) for row in rows)


@pytest.fixture(scope="session")
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def in_folder(cache_folder: Path) -> Callable[[Path], AbstractContextManager[None]]:
    """`with in_folder(path)`: the current folder, with the tests' cache; the import path is restored afterwards."""

    @contextmanager
    def inside(folder: Path) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in {"KDBENCH_CACHE": str(cache_folder), "PYTHONPATH": str(ROOT)}.items():
                patch.setenv(name, value)
            for name in ("KDBENCH_RESULTS", "KDBENCH_REPORTS"):
                patch.delenv(name, raising=False)
            patch.setattr(sys, "path", [str(ROOT), *filter(None, sys.path)])
            patch.chdir(folder)
            yield

    return inside


@pytest.fixture(autouse=True)
def environment(in_folder: Callable[[Path], AbstractContextManager[None]], tmp_path: Path) -> Iterator[None]:
    """Start every test in an empty folder."""
    with in_folder(tmp_path):
        yield


@pytest.fixture(scope="session")
def invoke() -> Callable[..., Result]:
    """`invoke("run", "tiny.toml")`: call kdbench in this process; exceptions that it does not handle are raised."""

    def call(*arguments: object) -> Result:
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Result(result.exit_code, result.stdout, result.stderr)

    return call


@pytest.fixture
def python() -> Callable[..., Result]:
    """`python(code)`: run Python code in a new process."""

    def run(code: str, **environment: str) -> Result:
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return Result(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def modules_after(python: Callable[..., Result]) -> Callable[..., set[str]]:
    """`modules_after("status")`: the modules that a process has imported after a command."""

    def imported(*arguments: object) -> set[str]:
        called = [str(argument) for argument in arguments]
        code = f"""
import sys
from kdbench.cli.app import app
try:
    app({called!r}, prog_name="kdbench")
except SystemExit as end:
    assert not end.code, end.code
print("\\nMODULES", *sys.modules)
"""
        result = python(code)
        assert result.status == 0, result.err
        return set(result.out.rpartition("MODULES")[2].split())

    return imported


@pytest.fixture(scope="session")
def tiny(
    tmp_path_factory: pytest.TempPathFactory,
    in_folder: Callable[[Path], AbstractContextManager[None]],
    invoke: Callable[..., Result],
) -> TinyMatrix:
    """The matrix, its results and its reports; tests must not change them."""
    folder = tmp_path_factory.mktemp("tiny")
    (folder / "tiny.toml").write_text(MATRIX, encoding="utf-8")
    with in_folder(folder):
        result = invoke("run", "tiny.toml")
    return TinyMatrix(folder, result)


@pytest.fixture
def copied(tiny: TinyMatrix, tmp_path: Path) -> TinyMatrix:
    """A copy of the matrix, its results and its reports in the current folder; tests may change it."""
    shutil.copytree(tiny.folder, tmp_path, dirs_exist_ok=True)
    return TinyMatrix(tmp_path, tiny.result)


@pytest.fixture
def flip_bit() -> Callable[[Path], None]:
    """`flip_bit(path)`: change one bit of a file, and no size."""

    def flip(path: Path) -> None:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)

    return flip
