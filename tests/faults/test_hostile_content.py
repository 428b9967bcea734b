"""Whatever a results folder contains: every command ends without a traceback, names the file, and `run` repairs it."""

import json
import os
import re
import shutil
import signal
import stat
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from forged import with_checksum
from typer.testing import CliRunner

import kdbench
from kdbench import api
from kdbench.cli.app import app
from kdbench.errors import ResultsError
from kdbench.results import Store

ROOT = Path(kdbench.__file__).parent.parent
HANGS_AFTER = 60  # seconds, on a busy machine; a FIFO that is opened would hang for ever
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
alpha = [0.1, 0.3, 0.5, 0.7, 0.9]

[run]
devices = "cpu"
workers = 1
"""
CHECKED = ("result.json", "spec.json", "weights.safetensors", "history.parquet", "predictions.safetensors")
RUN_FILES = (*CHECKED, "attempt.json", "log.txt", "checkpoint.pt")
OTHERS = ("matrices/other.json", "timings/other.json", "sessions/other.json")

Corrupt = Callable[[Path], object]


def special(make: Corrupt) -> Corrupt:
    """Return what replaces a file by something else."""

    def replace(path: Path) -> None:
        path.unlink(missing_ok=True)
        make(path)

    return replace


def write_zeros(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(10**10)


def text(content: str) -> Corrupt:
    return lambda path: path.write_text(content)


SPECIAL: Mapping[str, Corrupt] = {
    "FIFO": special(os.mkfifo),
    "directory": special(Path.mkdir),
    "dangling link": special(lambda path: path.symlink_to("nowhere")),
    "device": special(lambda path: path.symlink_to("/dev/zero")),
    "socket": special(lambda path: os.mknod(path, stat.S_IFSOCK | 0o600)),
}
BINARY: Mapping[str, Corrupt] = {"empty": text(""), "zeros": write_zeros}
JSON: Mapping[str, Corrupt] = {
    "nested": text("[" * 100_000 + "]" * 100_000),
    "nested object": text('{"a":' * 300 + "1" + "}" * 300),
    "NaN": text('{"status": NaN}'),
    "infinite": text('{"status": 1e999}'),
    "half a surrogate pair": text('{"status": "\\ud800"}'),
    "digits": text('{"status": ' + "9" * 5000 + "}"),
    "escapes": text('{"run_id": "\\u001b[31m\\u0000\\n", "status": "\\u001b"}'),
}


@dataclass(frozen=True)
class Folder:
    """A folder with the matrix and its results."""

    path: Path

    @property
    def store(self) -> Store:
        return Store(self.path / "results", create=False)

    def call(self, *arguments: str) -> Any:
        """Call a command; assert that it ends as it should, whatever the results folder contains."""
        with time_limit():
            result = CliRunner().invoke(app, arguments)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert not re.search("[\x00\x1b\ud800-\udfff]", result.output)
        if result.exit_code:
            assert (result.exit_code, len(result.stderr.splitlines())) == (1, 1), result.output
            assert result.stderr.startswith("error: ")
        return result

    def scores(self) -> dict[str, tuple[object, ...]]:
        frame = api.load_results(self.path / "results").set_index("run_id")
        columns = ["status", "val_accuracy", "test_accuracy", "test_nll"]
        return {str(run): tuple(row) for run, row in zip(frame.index, frame[columns].to_numpy(), strict=True)}


@contextmanager
def time_limit() -> Iterator[None]:
    """Raise in a block that hangs."""

    def fail(*_: object) -> None:
        raise AssertionError("the command hangs")

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(HANGS_AFTER)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Folder]:
    """The matrix after its run; tests must not change it."""
    path = tmp_path_factory.mktemp("hostile")
    (path / "tiny.toml").write_text(MATRIX)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setattr(sys, "path", [str(ROOT), *filter(None, sys.path)])
        patch.chdir(path)
        folder = Folder(path)
        assert folder.call("run", "tiny.toml").exit_code == 0
        yield folder


@pytest.fixture
def folder(trained: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    """A copy of the matrix and its results in the current folder."""
    shutil.copytree(trained.path, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return Folder(tmp_path)


def check_commands(folder: Folder, runs: list[str]) -> None:
    """Call every command that reads results."""
    (folder.path / "empty").mkdir()
    for arguments in (["status", "--json"], ["plan", "tiny.toml"], ["report"], ["retry"], ["clean", "--dry-run"]):
        folder.call(*arguments)
    for run in runs:
        for arguments in (["show", run], ["show", "--json", run], ["logs", run]):
            folder.call(*arguments)
        with time_limit(), suppress(ResultsError):
            api.load_predictions(run, "results", labels=False)
    with time_limit():
        assert len(api.load_results("results")) == 13
    folder.call("merge", "empty", "results")


@pytest.mark.parametrize("kind", [*SPECIAL, *BINARY, *JSON])
def test_every_command_ends_and_names_the_file(folder: Folder, kind: str) -> None:
    corrupt = {**SPECIAL, **BINARY, **JSON}[kind]
    names = RUN_FILES if kind in SPECIAL else CHECKED if kind in BINARY else CHECKED[:2]
    corrupted = dict(zip(folder.store.run_ids(), names, strict=False))
    for run, name in corrupted.items():
        corrupt(folder.store.folder(run) / name)
    for name in OTHERS:
        corrupt(folder.path / "results" / name)
    shown = folder.call("status").output
    for run, name in corrupted.items():
        (line,) = [line for line in shown.splitlines() if line.startswith(f"corrupted: {run}: {name} ")]
        assert kind not in SPECIAL or f" is a {kind}, not a regular file" in line
    assert kind == "dangling link" or all(name in shown for name in OTHERS[:2])
    check_commands(folder, list(corrupted))
    moved = folder.call("reindex").output
    assert all(f"{run}: corrupted: {name} " in moved for run, name in corrupted.items())
    assert {folder.store.state(run) for run in corrupted} == {"pending"}


def change(**changes: object) -> Corrupt:
    """Return what changes the row of a `result.json`, or the result where the key is there."""

    def write(path: Path) -> None:
        result = json.loads(path.read_text())
        for key, value in changes.items():
            (result if key in result else result["row"])[key] = value
        path.write_bytes(with_checksum(json.dumps(result).replace('"1e999"', "1e999")))

    return write


def test_run_trains_every_corrupted_run_again(folder: Folder) -> None:
    expected = folder.scores()
    cases: list[tuple[str, Corrupt]] = [
        ("result.json", JSON["nested"]),
        ("result.json", SPECIAL["FIFO"]),
        ("result.json", change(test_accuracy="0.9")),
        ("result.json", change(test_nll="1e999")),
        ("result.json", change(parameters=2**70)),
        ("result.json", change(architecture="../../timings/\0")),
        ("spec.json", JSON["nested object"]),
        ("spec.json", SPECIAL["directory"]),
        ("weights.safetensors", BINARY["zeros"]),
        ("history.parquet", SPECIAL["FIFO"]),
        ("predictions.safetensors", SPECIAL["dangling link"]),
        ("log.txt", SPECIAL["FIFO"]),
        ("attempt.json", SPECIAL["directory"]),
    ]
    corrupted = dict(zip(expected, cases, strict=True))
    for run, (name, corrupt) in corrupted.items():
        corrupt(folder.store.folder(run) / name)
    for name in ("results.parquet", "history.parquet"):
        SPECIAL["directory"](folder.path / "results" / name)
    result = folder.call("run", "tiny.toml")
    assert result.exit_code == 0
    for run, (name, _) in corrupted.items():
        assert re.search(rf"^warning: {run}: corrupted: .*; moved to ", result.output, re.MULTILINE)
        assert os.path.lexists(folder.path / "results" / "quarantine" / f"{run}-1" / name)
    assert folder.scores() == expected
    assert "nothing to train" in folder.call("run", "tiny.toml").output


def test_names_are_printed_as_codes_and_never_used_as_paths(folder: Folder) -> None:
    results, run = folder.path / "results", folder.store.run_ids()[0]
    index = json.loads((results / "matrices" / "tiny.json").read_text())
    for name in ("a\nb", "a\x1b[31mb", "..", os.fsdecode(b"\xff")):
        if name != "..":
            shutil.copytree(results / "runs" / run, results / "runs" / name)
            (results / "workers" / f"{name}.log").touch()
        (results / "runs" / run / f".{name}.1.tmp").touch()
        (results / "timings" / f"{name}.json").write_text("{")
        (results / "matrices" / f"{name}.json").write_text(json.dumps({**index, "name": name}, ensure_ascii=True))
    shown = folder.call("status").output
    assert "results/matrices/a\\nb.json: corrupted (no matrix can have this name)" in shown
    check_commands(folder, [])
    assert sorted(path.name for path in (folder.path / "reports").iterdir()) == ["tiny"]
    found = folder.call("reindex").output
    assert "runs/a\\nb: ignored, because its name is not the id of a run" in found
    assert ".a\\nb.1.tmp (partial file)" in folder.call("clean", "--dry-run").output
    assert json.loads(folder.call("clean", "--json").output)["removed"]
    assert len(folder.store.run_ids()) == 13


@pytest.mark.parametrize("kind", ["FIFO", "directory", "device", "nested", "zeros"])
def test_a_corrupted_kdbench_json_is_refused_with_a_command_that_restores_it(folder: Folder, kind: str) -> None:
    path = folder.path / "results" / "kdbench.json"
    {**SPECIAL, **BINARY, **JSON}[kind](path)
    for arguments in (["status"], ["run", "tiny.toml"], ["report"]):
        result = folder.call(*arguments)
        assert result.exit_code == 1
        assert result.stderr.startswith("error: results/kdbench.json: corrupted (")
    restore = result.stderr.partition("; restore it with: ")[2]
    with time_limit():
        assert os.system(restore) == 0
    assert folder.call("status").exit_code == 0
    assert folder.store.threads == 1
