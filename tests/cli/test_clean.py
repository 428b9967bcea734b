"""`clean`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kdbench.results import Store, checkpoints


@pytest.fixture
def half(copied: Any, invoke: Callable[..., Any]) -> Path:
    """A partial file, beside the checkpoint of a finished run."""
    invoke("clean")  # the log of the worker that made these results
    store, run = Store(copied.results), copied.run_of("vanilla")
    checkpoints.write(store.folder(run), 1, bytes(2_000_000), {})
    path = store.folder(run) / ".result.json.1.tmp"
    path.write_bytes(b"{")
    return path


def test_a_clean_folder_has_nothing_to_clean(copied: Any, invoke: Callable[..., Any]) -> None:
    invoke("clean")
    assert invoke("clean").out == "nothing to clean\n"
    assert invoke("clean", "--json").json == {"removed": True, "files": []}


def test_a_dry_run_prints_the_files_and_removes_nothing(half: Path, invoke: Callable[..., Any]) -> None:
    lines = invoke("clean", "--dry-run").out.splitlines()
    assert f"{half.relative_to(Path.cwd())} (partial file)" in lines
    assert "would remove: partial file: 1 file, 1 bytes" in lines
    assert half.exists()


def test_files_are_removed_and_counted(copied: Any, half: Path, invoke: Callable[..., Any]) -> None:
    assert invoke("clean").out.splitlines() == [
        "removed: partial file: 1 file, 1 bytes",
        "removed: checkpoint of a finished run: 1 file, 2.0 MB",
    ]
    assert not half.exists()
    assert Store(copied.results).corruption(copied.run_of("vanilla"), deep=True) is None


def test_json_lists_the_files(half: Path, invoke: Callable[..., Any]) -> None:
    found = invoke("clean", "--dry-run", "--json").json
    assert found["removed"] is False
    assert {"path": str(half.relative_to(Path.cwd())), "kind": "partial file", "bytes": 1} in found["files"]
    assert half.exists()
    assert invoke("clean", "--json").json == {**found, "removed": True}
    assert not half.exists()
