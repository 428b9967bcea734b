"""A way to call kdbench, and one small matrix that was run once and is looked at by many tests."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

import kdbench
from kdbench.cli.app import app

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
class Said:
    """What a command said."""

    status: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one line of an error."""
        (line,) = self.err.splitlines()
        return line.removeprefix("error: ")


@dataclass(frozen=True)
class Tiny:
    """The small matrix after its run."""

    folder: Path
    said: Said

    @property
    def matrix(self) -> Path:
        return self.folder / "tiny.toml"

    @property
    def results(self) -> Path:
        return self.folder / "results"

    @property
    def reports(self) -> Path:
        return self.folder / "reports"


@pytest.fixture(scope="session")
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def at(cache_folder: Path) -> Callable[[Path], AbstractContextManager[None]]:
    """Makes a folder the present one, with a cache of the tests' own and an import path that may be changed."""

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
def surroundings(at: Callable[[Path], AbstractContextManager[None]], tmp_path: Path) -> Iterator[None]:
    """An empty present folder for every test."""
    with at(tmp_path):
        yield


@pytest.fixture(scope="session")
def say() -> Callable[..., Said]:
    """Calls kdbench in this process; what is no error on purpose comes through."""

    def called(*arguments: object) -> Said:
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Said(result.exit_code, result.stdout, result.stderr)

    return called


@pytest.fixture
def python() -> Callable[..., Said]:
    """Runs a piece of Python in a process of its own."""

    def run(code: str, **environment: str) -> Said:
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return Said(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def modules_after(python: Callable[..., Said]) -> Callable[..., set[str]]:
    """The modules that a process has imported after a command."""

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
        said = python(code)
        assert said.status == 0, said.err
        return set(said.out.rpartition("MODULES")[2].split())

    return imported


@pytest.fixture(scope="session")
def tiny(
    tmp_path_factory: pytest.TempPathFactory,
    at: Callable[[Path], AbstractContextManager[None]],
    say: Callable[..., Said],
) -> Tiny:
    """The matrix, its results and its reports; to be looked at, not changed."""
    folder = tmp_path_factory.mktemp("tiny")
    (folder / "tiny.toml").write_text(MATRIX, encoding="utf-8")
    with at(folder):
        said = say("run", "tiny.toml")
    return Tiny(folder, said)


@pytest.fixture
def copied(tiny: Tiny, tmp_path: Path) -> Tiny:
    """The same in a folder that may be changed, which is the present one."""
    shutil.copytree(tiny.folder, tmp_path, dirs_exist_ok=True)
    return Tiny(tmp_path, tiny.said)
