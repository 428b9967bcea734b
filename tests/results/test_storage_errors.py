"""Errors of the environment: reads are repeated, then reported, and nothing is done to a run."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from kdbench.errors import MatrixError, StorageError
from kdbench.matrix import RunSpec
from kdbench.results import Store
from kdbench.results.regular_files import exists, read_file, read_regular
from kdbench.results.storage_errors import READ_DELAYS, as_storage_error, repeat_read, storage_errors

Finished = Callable[[Store, RunSpec], None]
FILES = ("result.json", "spec.json", "weights.safetensors", "history.parquet", "predictions.safetensors")


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The delays, in which no time passes."""
    found: list[float] = []
    monkeypatch.setattr("kdbench.results.storage_errors.time.sleep", found.append)
    return found


def failing(times: int, number: int = errno.ESTALE) -> Callable[[], str]:
    """Return a function that fails a few times."""
    errors = iter(range(times))

    def read() -> str:
        if next(errors, None) is not None:
            raise OSError(number, os.strerror(number))
        return "content"

    return read


def test_a_read_that_fails_is_repeated(waits: list[float]) -> None:
    assert repeat_read(Path("file"), failing(6)) == "content"
    assert waits == list(READ_DELAYS[:6])


def test_a_read_that_fails_every_time_is_an_error(waits: list[float]) -> None:
    with pytest.raises(StorageError) as caught:
        repeat_read(Path("results/a\nfile"), failing(99))
    assert str(caught.value) == (
        "results/a\\nfile: cannot be read (Stale file handle); nothing was changed; check the disk or the file server "
        "and rerun the command; finished runs are kept"
    )
    assert waits == list(READ_DELAYS)


@pytest.mark.parametrize("number", [errno.ENOENT, errno.ENOTDIR, errno.ELOOP])
def test_what_is_missing_or_of_another_kind_is_not_repeated(waits: list[float], number: int) -> None:
    with pytest.raises(OSError, match=os.strerror(number)):
        repeat_read(Path("file"), failing(1, number))
    assert not waits


def test_missing_permissions_are_not_repeated(waits: list[float]) -> None:
    with pytest.raises(StorageError, match=r"^file: cannot be read \(Permission denied\); nothing was .*; make it"):
        repeat_read(Path("file"), failing(1, errno.EACCES))
    assert not waits


def test_a_file_is_read_again_from_its_beginning(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    outcomes = iter([OSError(errno.EIO, "Input/output error"), None])

    def read(handle: object) -> bytes:
        content: bytes = handle.read(2)  # type: ignore[attr-defined]
        if (error := next(outcomes)) is not None:
            raise error
        return content

    assert read_file(tmp_path / "file", read) == b"ab"


class FailingDisk:
    """Lets the first `os.open` and `Path.stat` of files with a name fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, name: str, times: int) -> None:
        self._name, self._times, self._count = name, times, 0
        for owner, function in ((os, "open"), (Path, "stat")):
            monkeypatch.setattr(owner, function, self._wrap(getattr(owner, function)))

    def _wrap(self, function: Callable[..., object]) -> Callable[..., object]:
        def call(path: object, *arguments: object, **options: object) -> object:
            if Path(str(path)).name == self._name and self._count < self._times:
                self._count += 1
                raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
            return function(path, *arguments, **options)

        return call


@pytest.mark.parametrize("name", FILES)
def test_no_run_is_quarantined_because_reads_fail(
    store: Store, teacher: RunSpec, finished: Finished, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    finished(store, teacher)
    with monkeypatch.context() as patch:
        FailingDisk(patch, name, times=6)
        assert list(store.quarantine_corrupted([teacher.id], deep=True)) == []
        assert store.state(teacher.id) == "done"
    with monkeypatch.context() as patch:
        FailingDisk(patch, name, times=10**9)
        with pytest.raises(StorageError, match=rf"{name}: cannot be read \(Stale file handle\); nothing was changed"):
            list(store.quarantine_corrupted([teacher.id], deep=True))
    assert store.corruption(teacher.id, deep=True) is None
    assert not (store.root / "quarantine").exists()


def test_a_result_that_cannot_be_read_is_not_a_pending_run(
    store: Store, teacher: RunSpec, finished: Finished, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished(store, teacher)
    FailingDisk(monkeypatch, "result.json", times=10**9)
    with pytest.raises(StorageError, match=r"result\.json: cannot be read"):
        store.state(teacher.id)


def test_a_run_whose_spec_cannot_be_found_for_a_moment_is_listed(
    store: Store, teacher: RunSpec, finished: Finished, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished(store, teacher)
    FailingDisk(monkeypatch, "spec.json", times=6)
    assert store.run_ids() == [teacher.id]


def test_a_path_exists_or_not_or_the_file_system_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    assert exists(tmp_path / "file")
    assert not exists(tmp_path / "other")
    assert not exists(tmp_path / "file" / "below")
    FailingDisk(monkeypatch, "file", times=10**9)
    with pytest.raises(StorageError, match="file: cannot be read"):
        exists(tmp_path / "file")


def test_a_file_is_read_although_reads_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    FailingDisk(monkeypatch, "file", times=6)
    assert read_regular(tmp_path / "file", 3) == b"abc"


class RustError(Exception):
    """Has only a text, as the errors of safetensors."""


def chained(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "weights"), "free space there"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "free space or raise the quota there"),
        (OSError(errno.EFBIG, "File too large"), "raise the limit of file sizes with `ulimit -f unlimited`"),
        (OSError(errno.EIO, "Input/output error"), "check the disk or the file server"),
        (RustError("Error: I/O error: No space left on device (os error 28)"), "free space there"),
        (RustError("Error: I/O error: File too large (os error 27)"), "raise the limit of file sizes"),
        (RuntimeError("unable to write to file </torch_1>:\nNo space left on device (28)"), "free space there"),
        (chained(RuntimeError("the epoch failed"), OSError(errno.EIO, "Input/output error")), "check the disk"),
    ],
)
def test_errors_of_the_environment(error: Exception, remedy: str) -> None:
    found = str(as_storage_error(error))
    assert "cannot be read or written (" in found
    assert f"; {remedy}" in found
    assert found.endswith(" and rerun the command; finished runs are kept")
    assert "\n" not in found


@pytest.mark.parametrize(
    "error",
    [ValueError("wrong shape"), FileNotFoundError(errno.ENOENT, "No such file"), MatrixError("bad key"), MemoryError()],
)
def test_errors_of_a_run(error: Exception) -> None:
    assert as_storage_error(error) is None


def test_other_errors_pass_unchanged() -> None:
    with pytest.raises(ValueError, match="wrong"), storage_errors():
        raise ValueError("wrong")
    with pytest.raises(StorageError, match="No space"), storage_errors():
        raise RustError("No space left on device")
