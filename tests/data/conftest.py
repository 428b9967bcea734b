"""A cache of the test's own, and a small data set in a file."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest


@pytest.fixture(autouse=True)
def cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where decoded data are kept during the test."""
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
def write(tmp_path: Path) -> Callable[[dict[str, Any]], Path]:
    """Writes arrays to a file and gives its path."""

    def written(arrays: dict[str, Any]) -> Path:
        path = tmp_path / "small.npz"
        np.savez(path, **arrays)
        return path

    return written
