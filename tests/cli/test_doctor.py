"""`doctor`."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from kdbench import __version__
from kdbench.results import Store


def checks(text: str) -> dict[str, tuple[str, str]]:
    """Check -> its mark, and what was found."""
    rows = [line.split("  ", 2) for line in text.splitlines() if line[:2] in ("ok", "!!")]
    return {what.strip(): (mark, found.strip()) for mark, what, found in rows}


def test_every_check_passes(invoke: Callable[..., Any]) -> None:
    result = invoke("doctor")
    found = checks(result.out)
    assert result.status == 0
    assert {mark for mark, _ in found.values()} == {"ok"}
    assert found["kdbench"][1] == __version__
    assert torch.__version__.startswith(found["torch"][1].partition("+")[0])
    assert found['precision "auto"'][1].partition(";")[0] in ("bf16", "fp32")
    assert found["digits"][1].startswith("content ")
    assert found["results folder"][1] == "results (will be created)"


def test_slow_bf16_is_named(invoke: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr("kdbench.training.precision._cpu_has_bf16", lambda: True)
    monkeypatch.setattr("kdbench.plan.bf16_ratio.cached_bf16_ratio", lambda: 123.4)
    result = invoke("doctor", "--json")
    (found,) = (check["found"] for check in json.loads(result.out) if check["name"] == 'precision "auto"')
    assert result.status == 0
    assert found.startswith("fp32; this processor has bf16, but torch ")
    assert found.endswith("slow reference code: 123 times the time of fp32")


def test_a_results_folder_is_checked_and_not_changed(invoke: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    result = invoke("doctor")
    assert checks(result.out)["results folder"][1].endswith("GB free")
    assert list((tmp_path / "results").iterdir()) == []


def test_a_file_instead_of_the_results_folder_fails(invoke: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "results").write_text("a file")
    result = invoke("doctor")
    assert result.status == 1
    assert checks(result.out)["results folder"][0] == "!!"


def test_a_newer_results_folder_fails(invoke: Callable[..., Any], tmp_path: Path) -> None:
    Store(tmp_path / "results")
    (tmp_path / "results" / "kdbench.json").write_text('{"format": 99}')
    result = invoke("doctor")
    assert result.status == 1
    assert "written by a newer kdbench" in result.out


def test_a_cache_that_cannot_be_written_fails(
    invoke: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cache").write_text("a file")
    monkeypatch.setenv("KDBENCH_CACHE", str(tmp_path / "cache"))
    result = invoke("doctor")
    assert result.status == 1
    assert checks(result.out)["digits"][0] == "!!"
    assert "set KDBENCH_CACHE" in result.out


def test_a_missing_package_fails(invoke: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kdbench.cli.doctor.PACKAGES", ("torch", "no-such-package"))
    result = invoke("doctor")
    assert result.status == 1
    assert checks(result.out)["no-such-package"] == (
        "!!",
        "not installed; run `pip install no-such-package`",
    )


def test_a_missing_compiler_does_not_fail(invoke: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    result = invoke("doctor")
    assert result.status == 0, "compiling is optional"
    assert checks(result.out)["run.compile"] == ("ok", "unavailable: no compiler 'no-such-compiler'")


def test_json_has_every_check(invoke: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "results").write_text("a file")
    result = invoke("doctor", "--json")
    assert result.status == 1
    found = {check["name"]: (check["ok"], check["found"]) for check in result.json}
    assert found["kdbench"] == (True, __version__)
    assert found["results folder"][0] is False
