"""The file cache: bounded, least recently used first, checksummed, and safe for several processes."""

import os
from concurrent.futures import ThreadPoolExecutor

import pytest
from filelock import FileLock
from hypothesis import given
from hypothesis import strategies as st

from kdbench.worker import disk_cache as module
from kdbench.worker.disk_cache import LRUCache

CHECKSUM = 32  # bytes


@pytest.fixture
def cache(tmp_path):
    """Room for three files of ten bytes."""
    return LRUCache(tmp_path / "cache", 3 * (10 + CHECKSUM))


def age(cache, name, seconds):
    os.utime(cache.folder / name, (seconds, seconds))


def names(cache):
    return {str(path.relative_to(cache.folder)) for path in cache.folder.glob("*/*")}


def test_a_written_file_is_read(cache):
    assert cache.read("a/0") is None
    cache.write("a/0", b"0123456789")
    assert cache.read("a/0") == b"0123456789"
    assert cache.read("a/1") is None


def test_an_existing_file_is_not_overwritten(cache):
    cache.write("a/0", b"first")
    cache.write("a/0", b"second")
    assert cache.read("a/0") == b"first"


def test_the_least_recently_used_file_is_evicted(cache):
    for second, name in enumerate(("a/0", "a/1", "b/0"), start=1):
        cache.write(name, b"0123456789")
        age(cache, name, second)
    cache.read("a/0")
    cache.write("b/1", b"0123456789")
    assert names(cache) == {"a/0", "b/0", "b/1"}


def test_an_empty_folder_is_removed(cache):
    cache.write("a/0", b"0")
    age(cache, "a/0", 1)
    cache.write("b/0", bytes(3 * 10 + 2 * CHECKSUM))
    assert [path.name for path in cache.folder.iterdir() if path.is_dir()] == ["b"]


def test_a_file_above_the_limit_evicts_nothing(cache):
    cache.write("a/0", b"0")
    cache.write("b/0", bytes(1000))
    assert names(cache) == {"a/0"}


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 60)), max_size=20))
def test_the_limit_is_kept(tmp_path_factory, writes):
    cache = LRUCache(tmp_path_factory.mktemp("bounded"), 150)
    for number, size in writes:
        cache.write(f"a/{number}", bytes(size))
        assert sum(path.stat().st_size for path in cache.folder.glob("*/*")) <= 150
        assert cache.read(f"a/{number}") is not None


@pytest.mark.parametrize("corruption", ["truncated", "flipped", "empty", "misindexd"])
def test_a_corrupted_file_is_a_miss_and_removed(cache, corruption):
    cache.write("a/0", b"0123456789")
    path = cache.folder / "a/0"
    data = path.read_bytes()
    cache.write("a/1", b"abcdefghij")
    other = (cache.folder / "a/1").read_bytes()
    broken = {"truncated": data[:-1], "flipped": data[:-1] + b"8", "empty": b"", "misindexd": other}
    path.write_bytes(broken[corruption])
    assert cache.read("a/0") is None
    assert not path.exists()
    cache.write("a/0", b"0123456789")
    assert cache.read("a/0") == b"0123456789"


def test_an_unfinished_file_counts_and_is_evicted(cache):
    cache.write("a/0", b"0123456789")
    unfinished = cache.folder / "a/.1.99999.tmp"
    unfinished.write_bytes(bytes(60))
    age(cache, "a/.1.99999.tmp", 1)
    cache.write("a/1", b"0123456789")
    assert names(cache) == {"a/0", "a/1"}


def test_concurrent_writers_keep_the_limit(tmp_path):
    caches = [LRUCache(tmp_path, 10 * (10 + CHECKSUM)) for _ in range(4)]

    def fill(number):
        for index in range(12):
            caches[number].write(f"{number % 2}/{index}", f"{number % 2}-{index:08}".encode())

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(fill, range(4)))
    files = names(caches[0])
    assert len(files) == 10
    for name in files:
        key, index = name.split("/")
        assert caches[0].read(name) == f"{key}-{int(index):08}".encode()


def test_waiting_for_the_lock_times_out(cache, monkeypatch):
    monkeypatch.setattr(module, "LOCK_TIMEOUT", 0.01)
    cache.folder.mkdir()
    with FileLock(cache.folder / ".lock"), pytest.raises(OSError, match="lock"):
        cache.write("a/0", b"0")
    assert cache.read("a/0") is None


def test_an_unwritable_folder_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    cache = LRUCache(tmp_path / "file", 1000)
    with pytest.raises(OSError, match="file"):
        cache.write("a/0", b"0")
    assert cache.read("a/0") is None
