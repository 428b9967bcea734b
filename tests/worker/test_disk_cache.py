"""Bytes in a bounded folder: whole or not there, the oldest first to go."""

import os
from concurrent.futures import ThreadPoolExecutor

import pytest
from filelock import FileLock
from hypothesis import given
from hypothesis import strategies as st

from kdbench.worker import disk_cache as module
from kdbench.worker.disk_cache import LRUCache

HEAD = 32  # the checksum


@pytest.fixture
def cache(tmp_path):
    """Room for three files of ten bytes."""
    return LRUCache(tmp_path / "cache", 3 * (10 + HEAD))


def age(cache, name, seconds):
    os.utime(cache.folder / name, (seconds, seconds))


def names(cache):
    return {str(path.relative_to(cache.folder)) for path in cache.folder.glob("*/*")}


def test_what_is_kept_is_read_again(cache):
    assert cache.read("a/0") is None
    cache.write("a/0", b"0123456789")
    assert cache.read("a/0") == b"0123456789"
    assert cache.read("a/1") is None


def test_what_is_there_is_not_written_again(cache):
    cache.write("a/0", b"first")
    cache.write("a/0", b"second")
    assert cache.read("a/0") == b"first"


def test_what_was_not_used_for_longest_makes_room(cache):
    for second, name in enumerate(("a/0", "a/1", "b/0"), start=1):
        cache.write(name, b"0123456789")
        age(cache, name, second)
    cache.read("a/0")
    cache.write("b/1", b"0123456789")
    assert names(cache) == {"a/0", "b/0", "b/1"}


def test_a_folder_that_became_empty_is_removed(cache):
    cache.write("a/0", b"0")
    age(cache, "a/0", 1)
    cache.write("b/0", bytes(3 * 10 + 2 * HEAD))
    assert [path.name for path in cache.folder.iterdir() if path.is_dir()] == ["b"]


def test_what_never_fits_removes_nothing(cache):
    cache.write("a/0", b"0")
    cache.write("b/0", bytes(1000))
    assert names(cache) == {"a/0"}


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 60)), max_size=20))
def test_the_bound_holds(tmp_path_factory, writes):
    cache = LRUCache(tmp_path_factory.mktemp("bounded"), 150)
    for number, size in writes:
        cache.write(f"a/{number}", bytes(size))
        assert sum(path.stat().st_size for path in cache.folder.glob("*/*")) <= 150
        assert cache.read(f"a/{number}") is not None


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "of another"])
def test_a_corrupted_file_is_passed_over_and_removed(cache, damage):
    cache.write("a/0", b"0123456789")
    path = cache.folder / "a/0"
    whole = path.read_bytes()
    cache.write("a/1", b"abcdefghij")
    other = (cache.folder / "a/1").read_bytes()
    broken = {"cut": whole[:-1], "flipped": whole[:-1] + b"8", "empty": b"", "of another": other}
    path.write_bytes(broken[damage])
    assert cache.read("a/0") is None
    assert not path.exists()
    cache.write("a/0", b"0123456789")
    assert cache.read("a/0") == b"0123456789"


def test_a_file_that_nobody_finished_counts_and_makes_room(cache):
    cache.write("a/0", b"0123456789")
    left = cache.folder / "a/.1.99999.tmp"
    left.write_bytes(bytes(60))
    age(cache, "a/.1.99999.tmp", 1)
    cache.write("a/1", b"0123456789")
    assert names(cache) == {"a/0", "a/1"}


def test_several_at_once_keep_the_bound(tmp_path):
    shelves = [LRUCache(tmp_path, 10 * (10 + HEAD)) for _ in range(4)]

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


def test_a_lock_that_another_holds_is_not_waited_for_forever(cache, monkeypatch):
    monkeypatch.setattr(module, "LOCK_TIMEOUT", 0.01)
    cache.folder.mkdir()
    with FileLock(cache.folder / ".lock"), pytest.raises(OSError, match="lock"):
        cache.write("a/0", b"0")
    assert cache.read("a/0") is None


def test_a_place_that_cannot_be_written_to_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    cache = LRUCache(tmp_path / "file", 1000)
    with pytest.raises(OSError, match="file"):
        cache.write("a/0", b"0")
    assert cache.read("a/0") is None
