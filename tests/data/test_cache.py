import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kdbench.data import cache
from kdbench.data.dataset import Dataset, assemble
from kdbench.errors import DataError


def make_dataset() -> Dataset:
    images = np.arange(96, dtype=np.uint8).reshape(6, 1, 4, 4)
    return assemble(images, np.arange(6) % 2, images[:2], np.arange(2), num_classes=2)


def fail_build() -> Dataset:
    raise AssertionError("built again")


def are_equal(one: Dataset, other: Dataset) -> bool:
    return all(getattr(one, name) == getattr(other, name) for name in cache.METADATA_FIELDS) and all(
        np.array_equal(getattr(one, name), getattr(other, name)) for name in cache.ARRAYS
    )


def test_a_cached_data_set_equals_the_built_one_and_is_memory_mapped() -> None:
    assert cache.cached_fingerprint("set") is None
    assert are_equal(cache.cached("set", make_dataset), make_dataset())
    again = cache.cached("set", fail_build)
    assert are_equal(again, make_dataset())
    assert isinstance(again.train_images, np.memmap)
    assert not again.train_images.flags.writeable
    assert cache.cached_fingerprint("set") == make_dataset().fingerprint


def truncate(folder: Path) -> None:
    file = folder / "train_images.npy"
    file.write_bytes(file.read_bytes()[:-10])


def flip_a_bit(folder: Path) -> None:
    file = folder / "test_images.npy"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def remove(folder: Path) -> None:
    (folder / "test_labels.npy").unlink()


def empty(folder: Path) -> None:
    (folder / "train_labels.npy").write_bytes(b"")


def truncated_json(folder: Path) -> None:
    (folder / cache.METADATA).write_text('{"fingerprint": ')


def not_a_dictionary(folder: Path) -> None:
    (folder / cache.METADATA).write_text(json.dumps([1]))


@pytest.mark.parametrize("corrupt", [truncate, flip_a_bit, remove, empty, truncated_json, not_a_dictionary])
def test_a_corrupted_cache_is_rebuilt(cache_folder: Path, corrupt: Callable[[Path], None]) -> None:
    cache.cached("set", make_dataset)
    corrupt(cache_folder / "set")
    assert are_equal(cache.cached("set", make_dataset), make_dataset())
    assert are_equal(cache.cached("set", fail_build), make_dataset())


def test_a_failed_build_writes_nothing(cache_folder: Path) -> None:
    with pytest.raises(AssertionError, match="built again"):
        cache.cached("set", fail_build)
    assert not (cache_folder / "set").exists()
    assert are_equal(cache.cached("set", make_dataset), make_dataset())


BUILDER = """
import sys, time
from pathlib import Path
import numpy as np
from kdbench.data import cache
from kdbench.data.dataset import assemble

builds, start = map(Path, sys.argv[1:])

def build():
    (builds / str(time.time_ns())).touch()
    time.sleep(0.3)
    images = np.full((64, 3, 16, 16), 7, dtype=np.uint8)
    return assemble(images, np.zeros(64), images, np.zeros(64), num_classes=1)

print("ready", flush=True)
while not start.exists():
    time.sleep(0.005)
data = cache.cached("set", build)
print(data.fingerprint, data.train_images.sum())
"""


def test_of_two_processes_one_builds(tmp_path: Path, cache_folder: Path) -> None:
    builds, start = tmp_path / "builds", tmp_path / "start"
    builds.mkdir()
    command = [sys.executable, "-c", BUILDER, str(builds), str(start)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ) for _ in range(2)]
    assert [process.stdout.readline() for process in both if process.stdout] == ["ready\n"] * 2
    start.touch()
    printed = [process.communicate(timeout=60)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert printed[0] == printed[1]
    assert printed[0].endswith(f" {7 * 64 * 3 * 256}\n")
    assert len(list(builds.iterdir())) == 1
    assert [path.name for path in cache_folder.iterdir() if path.is_dir()] == ["set"]


def test_a_data_set_is_written_atomically(cache_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exists: list[bool] = []
    save = np.save

    def record_and_save(file: Path, array: np.ndarray) -> None:
        exists.append((cache_folder / "set").exists())
        save(file, array)

    monkeypatch.setattr(np, "save", record_and_save)
    cache.cached("set", make_dataset)
    assert exists == [False] * 4
    assert sorted(path.name for path in (cache_folder / "set").iterdir()) == sorted(
        [cache.METADATA, *(f"{name}.npy" for name in cache.ARRAYS)]
    )


def test_a_read_only_cache_folder_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("KDBENCH_CACHE", str(tmp_path / "file"))
    with pytest.raises(DataError, match=r"file: decoded data cannot be written .* set KDBENCH_CACHE"):
        cache.cached("set", make_dataset)


def test_the_cache_folder_depends_on_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert cache.cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("KDBENCH_CACHE")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.cache_folder() == tmp_path / "kdbench"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache.cache_folder() == Path.home() / ".cache" / "kdbench"
