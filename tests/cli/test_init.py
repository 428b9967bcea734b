"""`init`."""

import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kdbench.matrix import load


def test_what_is_written_can_be_planned(invoke: Callable[..., Any], tmp_path: Path) -> None:
    result = invoke("init")
    assert (result.status, result.out) == (0, "wrote matrix.toml; next: kdbench plan matrix.toml\n")
    plan = json.loads(invoke("plan", "matrix.toml", "--json").out)
    assert (plan["matrix"], plan["warnings"], plan["incompatible"]) == ("matrix", [], [])
    assert len(plan["runs"]) == 1 + 3 + 3 * 2 + 3


def test_what_is_commented_out_is_valid_too(invoke: Callable[..., Any], tmp_path: Path) -> None:
    invoke("init")
    text = (tmp_path / "matrix.toml").read_text()
    lines = [line.removeprefix("# ") if " = " in line or line.startswith("# [") else line for line in text.splitlines()]
    uncommented = "\n".join(line for line in lines if "kdbench " not in line.partition("#")[0])
    (tmp_path / "matrix.toml").write_text(uncommented)
    raw = tomllib.loads(uncommented)
    assert set(raw) >= {"dataset", "network", "exclude", "override"}
    assert set(raw["recipe"]) >= {"grad_clip_norm", "early_stopping", "monitor"}
    assert raw["protocol"].items() >= {"search_seeds": [100], "refit": True}.items()
    assert raw["run"] == {"devices": "auto", "workers": 2, "threads": 1, "cuda_graphs": True}
    assert load("matrix.toml").override[0].set == {"recipe": {"epochs": 40}}


@pytest.mark.parametrize(
    ("file", "name"),
    [("thesis.toml", "thesis"), ("kd-a.2.toml", "kd-a.2"), ("a b.toml", "ab"), ("-x.toml", "x"), ("ä.toml", "matrix")],
)
def test_the_matrix_is_named_after_its_file(invoke: Callable[..., Any], tmp_path: Path, file: str, name: str) -> None:
    assert invoke("init", "--", file).status == 0
    assert load(tmp_path / file).name == name


def test_the_printed_command_can_be_pasted(invoke: Callable[..., Any]) -> None:
    assert invoke("init", "a b.toml").out.endswith("next: kdbench plan 'a b.toml'\n")


def test_an_existing_file_is_kept(invoke: Callable[..., Any], tmp_path: Path) -> None:
    for name in ("matrix.toml", "matrix-2.toml"):
        (tmp_path / name).write_text("mine")
    result = invoke("init")
    assert result.status == 1
    assert result.error == "matrix.toml: the file exists; choose another name: kdbench init matrix-3.toml"
    assert (tmp_path / "matrix.toml").read_text() == "mine"
    assert invoke("init", "matrix-3.toml").status == 0


def test_a_missing_folder_is_an_error(invoke: Callable[..., Any]) -> None:
    result = invoke("init", "nowhere/matrix.toml")
    assert result.status == 1
    assert result.error.startswith("nowhere/matrix.toml: cannot be written (No such file or directory); name a file")
