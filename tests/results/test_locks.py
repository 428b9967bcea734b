import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from filelock import FileLock

from kdbench.results import locks
from kdbench.results.locks import is_locked

HOLDER = """
import sys
from filelock import FileLock

lock = FileLock(sys.argv[1])
lock.acquire()
print("locked", flush=True)
sys.stdin.read()
"""


@contextmanager
def holder(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that has locked the file."""
    command = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        yield process
        process.kill()


def test_a_file_is_locked_until_its_process_dies(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert is_locked(path) is False
    with holder(path) as process:
        assert is_locked(path) is True
        assert is_locked(path) is True
        process.kill()
        process.wait(timeout=30)
        assert is_locked(path) is False
    assert path.exists()


def test_is_locked_does_not_take_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.touch()
    assert is_locked(path) is False
    with FileLock(path, timeout=0) as lock:
        assert is_locked(path) is True
        assert lock.is_locked
    assert is_locked(path) is False


def test_a_file_in_place_of_the_run_folder(tmp_path: Path) -> None:
    (tmp_path / "run").touch()
    assert is_locked(tmp_path / "run" / "lock") is False


def test_systems_that_do_not_list_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "_locked_inodes", lambda: None)
    path = tmp_path / "lock"
    path.touch()
    assert is_locked(path) is False
    with holder(path):
        assert is_locked(path) is True


def test_other_locked_files_do_not_count(tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    with holder(tmp_path / "other"):
        assert is_locked(tmp_path / "mine") is False
        assert is_locked(tmp_path / "other") is True


def test_an_unlocked_file_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Opening it could keep a worker from claiming a pending run."""
    tried: list[Path] = []
    monkeypatch.setattr(locks, "_locked_inodes", set)
    monkeypatch.setattr(locks, "_has_exclusive_lock", tried.append)
    (tmp_path / "lock").touch()
    assert is_locked(tmp_path / "lock") is False
    assert tried == []
