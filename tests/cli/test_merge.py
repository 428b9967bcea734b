"""`merge`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from kdbench.results import Store


def test_the_merged_folder_has_the_tables_of_both(copied: Any, invoke: Callable[..., Any], tmp_path: Path) -> None:
    expected, into = copied.scores(), tmp_path / "into"
    Store(into)
    result = invoke("merge", into, copied.results)
    assert result.status == 0
    assert f"copied from {copied.results} into {into}: 9 runs, 1 matrix file, " in result.out
    assert copied.scores(into) == expected
    assert invoke("run", "tiny.toml", "--results", into).out.startswith("9 runs of tiny finished before;")


def test_merging_needs_two_folders(copied: Any, invoke: Callable[..., Any]) -> None:
    assert invoke("merge", "nowhere", "results").error.startswith("nowhere: ")
    assert "cannot be merged into itself" in invoke("merge", "results", "results").error


def test_merging_refuses_a_newer_format(copied: Any, invoke: Callable[..., Any], tmp_path: Path) -> None:
    newer = tmp_path / "newer"
    newer.mkdir()
    (newer / "kdbench.json").write_text('{"format": 99}')
    assert "written by a newer kdbench (format 99" in invoke("merge", copied.results, newer).error
