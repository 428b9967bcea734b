"""A cache per test, small data sets in files, and real ones if they are available."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

SHARED = Path(__file__).parents[3] / "shared"


@pytest.fixture(autouse=True)
def cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache folder of the test."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("KDBENCH_CACHE", str(folder))
    return folder


@pytest.fixture
def arrays() -> dict[str, Any]:
    """The arrays of a small file in MedMNIST's layout: 3 classes, 6x4 RGB."""
    random = np.random.default_rng(0)
    return {
        "train_images": random.integers(0, 256, (30, 6, 4, 3), dtype=np.uint8),
        "train_labels": np.arange(30, dtype=np.uint8)[:, None] % 3,
        "test_images": random.integers(0, 256, (9, 6, 4, 3), dtype=np.uint8),
        "test_labels": np.arange(9, dtype=np.uint8)[:, None] % 3,
    }


@pytest.fixture
def write_npz(tmp_path: Path) -> Callable[[dict[str, Any]], Path]:
    """Write arrays to a file and return its path."""

    def write_file(arrays: dict[str, Any]) -> Path:
        path = tmp_path / "small.npz"
        np.savez(path, **arrays)
        return path

    return write_file


@pytest.fixture
def write_image(tmp_path: Path) -> Callable[..., Path]:
    """Write an image file of one value, or one per channel, below `tmp_path` and return its path."""

    def write(name: str, value: Any = 0, size: tuple[int, int] = (4, 3), mode: str = "RGB") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new(mode, size, value).save(path)
        return path

    return write


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with packed real data."""
    if not (SHARED / "tools" / "unpack_data.py").exists():
        pytest.skip("real data are missing: ../shared/tools/unpack_data.py does not exist")
    return SHARED


@pytest.fixture(scope="session")
def unpack(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Unpack a real data set and return the folder that contains it."""
    tool = shared / "tools" / "unpack_data.py"
    root = tmp_path_factory.mktemp("real")

    def unpack_dataset(name: str) -> Path:
        subprocess.run([sys.executable, tool, root, name], check=True, stdout=subprocess.DEVNULL)
        return root

    return unpack_dataset
