"""Only regular files of bounded size are read, and nothing waits."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from kdbench.results.regular_files import append, irregularity, open_regular, read_regular

KINDS: list[tuple[str, Callable[[Path], object]]] = [
    ("a directory", Path.mkdir),
    ("a FIFO", os.mkfifo),
    ("a socket", lambda path: os.mknod(path, stat.S_IFSOCK | 0o600)),
    ("a device", lambda path: path.symlink_to("/dev/zero")),
]


@pytest.mark.parametrize(("kind", "make"), KINDS)
def test_anything_else_is_named_and_not_read(tmp_path: Path, kind: str, make: Callable[[Path], object]) -> None:
    path = tmp_path / "file"
    make(path)
    assert irregularity(path) == kind
    with pytest.raises(ValueError, match=f"^is {kind}, not a regular file$"):
        read_regular(path, 10)
    with pytest.raises(OSError, match=r"not a regular file|Is a directory|No such device or address"):
        append(path, b"x")


def test_a_link_is_as_regular_as_its_target(tmp_path: Path) -> None:
    path, target = tmp_path / "link", tmp_path / "target"
    path.symlink_to(target)
    assert irregularity(path) == "a dangling link"
    with pytest.raises(FileNotFoundError):
        open_regular(path)
    target.write_bytes(b"abc")
    assert irregularity(path) is None
    assert read_regular(path, 3) == b"abc"
    target.unlink()
    target.symlink_to(path)
    assert irregularity(path) == "a dangling link"
    assert irregularity(tmp_path / "missing") is None


def test_a_large_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"1234")
    assert read_regular(path, 4) == b"1234"
    with pytest.raises(ValueError, match=r"^has 4 bytes, at most 3 bytes are read$"):
        read_regular(path, 3)
    with path.open("wb") as file:
        file.truncate(10**10)
    with pytest.raises(ValueError, match=r"^has 10\.0 GB, at most 16\.8 MB are read$"):
        read_regular(path, 2**24)


def test_append_creates_and_extends_a_file(tmp_path: Path) -> None:
    for text in (b"a\n", b"b\n"):
        append(tmp_path / "log", text)
    assert (tmp_path / "log").read_bytes() == b"a\nb\n"
