"""`init`."""

import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kdbench.matrix import load


def test_what_is_written_can_be_planned(say: Callable[..., Any], tmp_path: Path) -> None:
    said = say("init")
    assert (said.status, said.out) == (0, "wrote matrix.toml; next: kdbench plan matrix.toml\n")
    plan = json.loads(say("plan", "matrix.toml", "--json").out)
    assert (plan["matrix"], plan["warnings"], plan["incompatible"]) == ("matrix", [], [])
    assert len(plan["runs"]) == 1 + 3 + 3 * 2 + 3


def test_what_is_commented_out_is_valid_too(say: Callable[..., Any], tmp_path: Path) -> None:
    say("init")
    text = (tmp_path / "matrix.toml").read_text()
    lines = [line.removeprefix("# ") if " = " in line or line.startswith("# [") else line for line in text.splitlines()]
    every = "\n".join(line for line in lines if "kdbench " not in line.partition("#")[0])
    (tmp_path / "matrix.toml").write_text(every.replace("workers = 2", "workers = 2\n"))
    raw = tomllib.loads(every)
    assert set(raw) >= {"dataset", "network", "exclude", "override"}
    assert set(raw["recipe"]) >= {"grad_clip_norm", "early_stopping"}
    assert raw["run"] == {"devices": "auto", "workers": 2, "threads": 1, "cuda_graphs": True}
    assert load("matrix.toml").override[0].set == {"recipe": {"epochs": 40}}


@pytest.mark.parametrize(
    ("file", "name"),
    [("thesis.toml", "thesis"), ("kd-a.2.toml", "kd-a.2"), ("a b.toml", "ab"), ("-x.toml", "x"), ("ä.toml", "matrix")],
)
def test_the_matrix_is_named_after_its_file(say: Callable[..., Any], tmp_path: Path, file: str, name: str) -> None:
    assert say("init", "--", file).status == 0
    assert load(tmp_path / file).name == name


def test_a_file_that_is_there_is_kept(say: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "matrix.toml").write_text("mine")
    said = say("init")
    assert said.status == 1
    assert said.error == "matrix.toml: is there already; name another file, or remove it"
    assert (tmp_path / "matrix.toml").read_text() == "mine"


def test_a_folder_that_is_not_there_is_an_error(say: Callable[..., Any]) -> None:
    said = say("init", "nowhere/matrix.toml")
    assert said.status == 1
    assert said.error.startswith("nowhere/matrix.toml: cannot be written (No such file or directory); name a file")
