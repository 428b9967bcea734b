import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kdbench.data import cache
from kdbench.data.dataset import DataSet, assemble
from kdbench.errors import DataError


def made() -> DataSet:
    images = np.arange(96, dtype=np.uint8).reshape(6, 1, 4, 4)
    return assemble(images, np.arange(6) % 2, images[:2], np.arange(2), num_classes=2)


def never() -> DataSet:
    raise AssertionError("built again")


def same(one: DataSet, other: DataSet) -> bool:
    return (one.fingerprint, one.num_classes) == (other.fingerprint, other.num_classes) and all(
        np.array_equal(getattr(one, name), getattr(other, name)) for name in cache.ARRAYS
    )


def test_what_is_kept_is_what_was_built_and_is_mapped() -> None:
    assert cache.cached_fingerprint("set") is None
    assert same(cache.cached("set", made), made())
    again = cache.cached("set", never)
    assert same(again, made())
    assert isinstance(again.train_images, np.memmap)
    assert not again.train_images.flags.writeable
    assert cache.cached_fingerprint("set") == made().fingerprint


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


def half_a_json(folder: Path) -> None:
    (folder / cache.FACTS).write_text('{"fingerprint": ')


def no_facts(folder: Path) -> None:
    (folder / cache.FACTS).write_text(json.dumps([1]))


@pytest.mark.parametrize("corrupt", [truncate, flip_a_bit, remove, empty, half_a_json, no_facts])
def test_a_corrupted_cache_is_rebuilt(cache_folder: Path, corrupt: Callable[[Path], None]) -> None:
    cache.cached("set", made)
    corrupt(cache_folder / "set")
    assert same(cache.cached("set", made), made())
    assert same(cache.cached("set", never), made())


def test_a_build_that_fails_leaves_nothing(cache_folder: Path) -> None:
    with pytest.raises(AssertionError, match="built again"):
        cache.cached("set", never)
    assert not (cache_folder / "set").exists()
    assert same(cache.cached("set", made), made())


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


def test_two_processes_at_once_build_it_once(tmp_path: Path, cache_folder: Path) -> None:
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


def test_a_data_set_appears_whole(cache_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there: list[bool] = []
    save = np.save

    def watched(file: Path, array: np.ndarray) -> None:
        there.append((cache_folder / "set").exists())
        save(file, array)

    monkeypatch.setattr(np, "save", watched)
    cache.cached("set", made)
    assert there == [False] * 4
    assert sorted(path.name for path in (cache_folder / "set").iterdir()) == sorted(
        [cache.FACTS, *(f"{name}.npy" for name in cache.ARRAYS)]
    )


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("KDBENCH_CACHE", str(tmp_path / "file"))
    with pytest.raises(DataError, match=r"file: the decoded data cannot be kept there .* set KDBENCH_CACHE"):
        cache.cached("set", made)


def test_the_folder_is_the_platforms_unless_chosen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert cache.location() == tmp_path / "cache"
    monkeypatch.delenv("KDBENCH_CACHE")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.location() == tmp_path / "kdbench"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache.location() == Path.home() / ".cache" / "kdbench"
