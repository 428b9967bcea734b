"""The code of the pages about custom methods, networks and data sets works as it is written there."""

import importlib
import re
import runpy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from kdbench import data, load_matrix, models
from kdbench.cli.app import app
from kdbench.data import DataSpec
from kdbench.errors import DataError


def test_a_custom_method(folder: Path, code_block: Callable[..., str]) -> None:
    for name in ("mymethods.py", "mine.toml", "test_mymethods.py"):
        (folder / name).write_text(code_block("docs/custom-method.md", title=name))
    runpy.run_path("test_mymethods.py")["test_brier_satisfies_the_contract"]()


def test_a_custom_method_in_a_matrix(folder: Path, code_block: Callable[..., str]) -> None:
    for name in ("mymethods.py", "mine.toml"):
        (folder / name).write_text(code_block("docs/custom-method.md", title=name))
    methods = {run.method for run in load_matrix("mine.toml").runs()}
    assert methods == {"scratch", "vanilla", "mymethods:Brier"}


def test_a_sweep_of_the_recipe_with_search_seeds(folder: Path, code_block: Callable[..., str]) -> None:
    (folder / "search.toml").write_text(code_block("docs/matrix.md", title="search.toml"))
    result = CliRunner().invoke(app, ["plan", "search.toml"])
    assert result.exit_code == 0, result.output
    page = (Path(__file__).parents[2] / "docs" / "matrix.md").read_text(encoding="utf-8")
    shown = re.findall(r"^    (\S.*?)  +\d+  +\d+  +\d+  +\d+$", page, re.MULTILINE)
    assert shown == ["teacher", "student from scratch", "vanilla", "attention"]
    rows = {line.rstrip() for line in result.output.splitlines() if re.search(r"\d +\d", line)}
    assert rows <= set(page.splitlines())


def test_a_recipe_with_a_monitor(folder: Path, code_block: Callable[..., str]) -> None:
    (folder / "monitor.toml").write_text(code_block("docs/matrix.md", title="monitor.toml"))
    assert {run.recipe.monitor for run in load_matrix("monitor.toml").runs()} == {"loss"}


def test_a_teacher_of_a_label(folder: Path, code_block: Callable[..., str]) -> None:
    (folder / "own_teacher.toml").write_text(code_block("docs/matrix.md", title="own_teacher.toml"))
    teachers = [run.recipe.epochs for run in load_matrix("own_teacher.toml").runs() if run.stream == "teacher"]
    assert sorted(teachers) == [5, 20]
    assert "teacher of vanilla" in CliRunner().invoke(app, ["plan", "own_teacher.toml"]).output


def test_a_custom_network(folder: Path, code_block: Callable[..., str]) -> None:
    (folder / "mynets.py").write_text(code_block("docs/custom-network.md", title="mynets.py"))
    network = models.build("tiny", num_classes=3, image_shape=(1, 9, 9), factory="mynets:make", options={"width": 4})
    output = network(torch.randn(2, 1, 9, 9))
    assert [tuple(stage.shape) for stage in output.stages] == [(2, 4, 9, 9), (2, 8, 5, 5)]
    head = 'name = "custom"\ndatasets = ["digits"]\n'
    (folder / "custom.toml").write_text(head + code_block("docs/custom-network.md", language="toml"))
    assert "tiny" in {run.student.name for run in load_matrix("custom.toml").runs()}


def test_a_family_of_networks(folder: Path, code_block: Callable[..., str]) -> None:
    (folder / "strided.py").write_text(code_block("docs/custom-network.md", title="kdbench/models/strided.py"))
    family = importlib.import_module("strided").FAMILY
    assert all(family.nearest_name(name) == name for name in family.examples)
    assert family.nearest_name("strided_0_16") == "strided_16"
    assert family.nearest_name("wrn_16_2") is None
    output = family.build("strided_4_6_8", 3, (1, 9, 9))(torch.randn(2, 1, 9, 9))
    assert [tuple(stage.shape) for stage in output.stages] == [(2, 4, 9, 9), (2, 6, 5, 5), (2, 8, 3, 3)]


def test_an_npz_file(folder: Path, code_block: Callable[..., str]) -> None:
    exec(code_block("docs/custom-dataset.md", title="convert.py"), {})
    loaded = data.load(DataSpec("mine", "npz", {"root": "mine.npz"}))
    assert (loaded.train_images.shape, loaded.num_classes) == ((500, 1, 16, 16), 3)


def test_a_kind_of_data_set(folder: Path, code_block: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "csv_files.py").write_text(code_block("docs/custom-dataset.md", title="kdbench/data/csv_files.py"))
    kind = importlib.import_module("csv_files").CSV
    monkeypatch.setattr(data, "DATASETS", {**data.DATASETS, kind.name: kind})
    spec = DataSpec("sheet", "csv", {"root": str(folder)})
    (folder / "train.csv").write_text("label,pixels\n1,0,50,100,255\n0,9,8,7,6\n")
    (folder / "test.csv").write_text("label,pixels\n2,1,2,3,4\n")
    loaded = data.load(spec)
    assert np.array_equal(loaded.train_images, [[[[0, 50], [100, 255]]], [[[9, 8], [7, 6]]]])
    assert (loaded.train_labels.tolist(), loaded.test_labels.tolist(), loaded.num_classes) == ([1, 0], [2], 3)
    (folder / "test.csv").write_text("label,pixels\n2,1,2,3\n")
    with pytest.raises(DataError, match=r"test\.csv: has 1 rows of 4 values"):
        data.load(spec)


def test_one_loss_in_a_training_loop(folder: Path, code_block: Callable[..., str]) -> None:
    (folder / "own_loop.py").write_text(code_block("docs/api.md", title="own_loop.py"))
    names = runpy.run_path("own_loop.py")
    assert set(names["step"].losses) == {"ce", "kl"}
    assert all(p.grad is None for p in names["method"].teacher.parameters())
    assert any(p.grad is not None for p in names["student"].parameters())
