"""Bytes in a bounded folder: whole or not there, the oldest first to go."""

import os
from concurrent.futures import ThreadPoolExecutor

import pytest
from filelock import FileLock
from hypothesis import given
from hypothesis import strategies as st

from kdbench.run import shelf as module
from kdbench.run.shelf import Shelf

HEAD = 32  # the checksum


@pytest.fixture
def shelf(tmp_path):
    """Room for three files of ten bytes."""
    return Shelf(tmp_path / "shelf", 3 * (10 + HEAD))


def age(shelf, name, seconds):
    os.utime(shelf.folder / name, (seconds, seconds))


def names(shelf):
    return {str(path.relative_to(shelf.folder)) for path in shelf.folder.glob("*/*")}


def test_what_is_kept_is_read_again(shelf):
    assert shelf.read("a/0") is None
    shelf.write("a/0", b"0123456789")
    assert shelf.read("a/0") == b"0123456789"
    assert shelf.read("a/1") is None


def test_what_is_there_is_not_written_again(shelf):
    shelf.write("a/0", b"first")
    shelf.write("a/0", b"second")
    assert shelf.read("a/0") == b"first"


def test_what_was_not_used_for_longest_makes_room(shelf):
    for second, name in enumerate(("a/0", "a/1", "b/0"), start=1):
        shelf.write(name, b"0123456789")
        age(shelf, name, second)
    shelf.read("a/0")
    shelf.write("b/1", b"0123456789")
    assert names(shelf) == {"a/0", "b/0", "b/1"}


def test_a_folder_that_became_empty_is_removed(shelf):
    shelf.write("a/0", b"0")
    age(shelf, "a/0", 1)
    shelf.write("b/0", bytes(3 * 10 + 2 * HEAD))
    assert [path.name for path in shelf.folder.iterdir() if path.is_dir()] == ["b"]


def test_what_never_fits_removes_nothing(shelf):
    shelf.write("a/0", b"0")
    shelf.write("b/0", bytes(1000))
    assert names(shelf) == {"a/0"}


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 60)), max_size=20))
def test_the_bound_holds(tmp_path_factory, writes):
    shelf = Shelf(tmp_path_factory.mktemp("bounded"), 150)
    for number, size in writes:
        shelf.write(f"a/{number}", bytes(size))
        assert sum(path.stat().st_size for path in shelf.folder.glob("*/*")) <= 150
        assert shelf.read(f"a/{number}") is not None


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "of another"])
def test_a_damaged_file_is_passed_over_and_removed(shelf, damage):
    shelf.write("a/0", b"0123456789")
    path = shelf.folder / "a/0"
    whole = path.read_bytes()
    shelf.write("a/1", b"abcdefghij")
    other = (shelf.folder / "a/1").read_bytes()
    broken = {"cut": whole[:-1], "flipped": whole[:-1] + b"8", "empty": b"", "of another": other}
    path.write_bytes(broken[damage])
    assert shelf.read("a/0") is None
    assert not path.exists()
    shelf.write("a/0", b"0123456789")
    assert shelf.read("a/0") == b"0123456789"


def test_a_file_that_nobody_finished_counts_and_makes_room(shelf):
    shelf.write("a/0", b"0123456789")
    left = shelf.folder / "a/.1.99999.tmp"
    left.write_bytes(bytes(60))
    age(shelf, "a/.1.99999.tmp", 1)
    shelf.write("a/1", b"0123456789")
    assert names(shelf) == {"a/0", "a/1"}


def test_several_at_once_keep_the_bound(tmp_path):
    shelves = [Shelf(tmp_path, 10 * (10 + HEAD)) for _ in range(4)]

    def fill(number):
        for place in range(12):
            shelves[number].write(f"{number % 2}/{place}", f"{number % 2}-{place:08}".encode())

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(fill, range(4)))
    held = names(shelves[0])
    assert len(held) == 10
    for name in held:
        key, place = name.split("/")
        assert shelves[0].read(name) == f"{key}-{int(place):08}".encode()


def test_a_lock_that_another_holds_is_not_waited_for_forever(shelf, monkeypatch):
    monkeypatch.setattr(module, "PATIENCE", 0.01)
    shelf.folder.mkdir()
    with FileLock(shelf.folder / ".lock"), pytest.raises(OSError, match="lock"):
        shelf.write("a/0", b"0")
    assert shelf.read("a/0") is None


def test_a_place_that_cannot_be_written_to_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    shelf = Shelf(tmp_path / "file", 1000)
    with pytest.raises(OSError, match="file"):
        shelf.write("a/0", b"0")
    assert shelf.read("a/0") is None
