"""`doctor`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from kdbench import __version__
from kdbench.results import Store


def checks(text: str) -> dict[str, tuple[str, str]]:
    """What was looked at -> how it is, and what was found."""
    rows = [line.split("  ", 2) for line in text.splitlines() if line[:2] in ("ok", "!!")]
    return {what.strip(): (mark, found.strip()) for mark, what, found in rows}


def test_a_machine_that_is_well(say: Callable[..., Any]) -> None:
    said = say("doctor")
    found = checks(said.out)
    assert said.status == 0
    assert {mark for mark, _ in found.values()} == {"ok"}
    assert found["kdbench"][1] == __version__
    assert torch.__version__.startswith(found["torch"][1].partition("+")[0])
    assert found['precision "auto"'][1] in ("bf16", "fp32")
    assert found["digits"][1].startswith("content ")
    assert found["results folder"][1] == "results (will be made)"


def test_a_results_folder_is_looked_at_and_left_as_it_is(say: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    said = say("doctor")
    assert checks(said.out)["results folder"][1].endswith("GiB free")
    assert list((tmp_path / "results").iterdir()) == []


def test_a_file_in_the_place_of_the_results_is_not_well(say: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "results").write_text("a file")
    said = say("doctor")
    assert said.status == 1
    assert checks(said.out)["results folder"][0] == "!!"


def test_a_newer_results_folder_is_not_well(say: Callable[..., Any], tmp_path: Path) -> None:
    Store(tmp_path / "results")
    (tmp_path / "results" / "kdbench.json").write_text('{"format": 99}')
    said = say("doctor")
    assert said.status == 1
    assert "written by a newer kdbench" in said.out


def test_a_cache_that_cannot_be_written_is_not_well(
    say: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cache").write_text("a file")
    monkeypatch.setenv("KDBENCH_CACHE", str(tmp_path / "cache"))
    said = say("doctor")
    assert said.status == 1
    assert checks(said.out)["digits"][0] == "!!"
    assert "set KDBENCH_CACHE" in said.out


def test_a_package_that_is_not_there_is_not_well(say: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kdbench.cli.doctor.PACKAGES", ("torch", "no-such-package"))
    said = say("doctor")
    assert said.status == 1
    assert checks(said.out)["no-such-package"] == ("!!", "not installed; install kdbench again")


def test_what_compiling_would_miss_is_told(say: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    said = say("doctor")
    assert said.status == 0, "nobody must compile"
    assert checks(said.out)["run.compile"] == ("ok", "cannot be used: there is no compiler 'no-such-compiler'")
