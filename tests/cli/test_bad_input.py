"""Errors in a matrix or a folder: one clear message, nothing trained, nothing lost."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kdbench.results import Store
from kdbench.results.files import read_json, write_json

MATRIX = """
name = "m"
seeds = [0, 1]
datasets = ["digits"]
pairs = [{ teacher = "cnn_8_16", student = "mlp_16" }]

[recipe]
epochs = 2
batch_size = 32
train_samples = 100

[methods.vanilla]
alpha = 0.5
"""

Edit = tuple[str, str]  # a piece of MATRIX -> its replacement; "" is the end of the file

CASES: dict[str, tuple[Edit, tuple[str, ...]]] = {
    "syntax": (
        ("alpha = 0.5", "alpha = = 0.5"),
        ("m.toml: not valid TOML: Invalid value (at line 13, column 9)",),
    ),
    "an open list": (("seeds = [0, 1]", "seeds = [0, 1"), ("m.toml: not valid TOML: Unclosed array (at line",)),
    "a key twice": (("epochs = 2", "epochs = 2\nepochs = 3"), ("not valid TOML", "line 9, column")),
    "unknown key": (("seeds", "seed"), ("m.toml: seed: unknown key; did you mean 'seeds'?",)),
    "unknown key of the recipe": (
        ("epochs", "epoch"),
        ("m.toml: recipe.epoch: unknown key; did you mean 'epochs'?",),
    ),
    "unknown table": (
        ("", "[protocl]\nvalidation = 0.2"),
        ("m.toml: protocl: unknown key; did you mean 'protocol'?",),
    ),
    "unknown method": (
        ("methods.vanilla", "methods.vanila"),
        ("m.toml: methods.vanila: unknown method 'vanila'; did you mean 'vanilla'?",),
    ),
    "unknown hyperparameter": (
        ("alpha = 0.5", "alfa = 0.5"),
        ("m.toml: methods.vanilla: 'vanilla' has no hyperparameter 'alfa'; did you mean 'alpha'?",),
    ),
    "unknown network": (
        ("mlp_16", "resnet21"),
        ("m.toml: pairs: unknown network 'resnet21'", "did you mean 'resnet20'?"),
    ),
    "unknown data set": (
        ('"digits"', '"digit"'),
        ("m.toml: datasets: data set 'digit'", "did you mean 'digits'?"),
    ),
    "unknown schedule": (
        ("epochs = 2", 'epochs = 2\nschedule = "cosin"'),
        ("m.toml: recipe.schedule: unknown name 'cosin'; did you mean 'cosine'?",),
    ),
    "text for a number": (("epochs = 2", 'epochs = "2"'), ("m.toml: recipe.epochs: must be a valid integer, got '2'",)),
    "text for a hyperparameter": (
        ("alpha = 0.5", 'alpha = "0.5"'),
        ("m.toml: methods.vanilla: alpha must be a valid number, got '0.5'; declared as float in [0, 1]",),
    ),
    "a number for a table": (
        ("", "[protocol]\nvalidation = 1.0"),
        ("protocol.validation: must be less than 1, got 1.0",),
    ),
    "alpha out of bounds": (
        ("alpha = 0.5", "alpha = 1.5"),
        ("m.toml: methods.vanilla: alpha must be less than or equal to 1, got 1.5; declared as float in [0, 1]",),
    ),
    "temperature 0": (
        ("alpha = 0.5", "temperature = 0"),
        ("m.toml: methods.vanilla: temperature must be greater than 0, got 0; declared as float > 0",),
    ),
    "NaN": (
        ("alpha = 0.5", "temperature = nan"),
        ("m.toml: methods.vanilla.temperature: must be a finite number, got nan",),
    ),
    "an empty sweep": (
        ("alpha = 0.5", "alpha = []"),
        ("m.toml: methods.vanilla.alpha: must have at least 1 value, got []; give a value or remove the key",),
    ),
    "no seed": (("seeds = [0, 1]", "seeds = []"), ("m.toml: seeds: must have at least 1 value, got []",)),
    "a zip of unequal lengths": (
        ("alpha = 0.5", 'alpha = [0.1, 0.2]\ntemperature = [1, 2, 3]\nzip = [["alpha", "temperature"]]'),
        ("m.toml: methods.vanilla.zip: ", "lists of equal length; alpha has 2, temperature has 3"),
    ),
    "a missing data set": (
        ('datasets = ["digits"]', 'datasets = ["mine"]\ndataset.mine = { kind = "npz", root = "nowhere/mine.npz" }'),
        ("m.toml: dataset.mine: data set 'mine' not found: ", "/nowhere/mine.npz does not exist", "train_images"),
    ),
    "more training images than there are": (
        ("train_samples = 100", "train_samples = 5000"),
        ("m.toml: teacher on digits: train_samples is 5000, but there are ", "remove it to use all"),
    ),
    "a batch larger than the training set": (
        ("batch_size = 32", "batch_size = 101"),
        ("m.toml: teacher on digits: a run has 100 training images, which is less than one batch of 101; lower ",),
    ),
    "early stopping without validation": (
        ("", "[recipe.student]\nearly_stopping = { patience = 3 }\n[protocol]\nvalidation = 0"),
        ("m.toml: recipe.student.early_stopping: needs validation images, but protocol.validation is 0; set it",),
    ),
    "plateau without validation": (
        ("", '[recipe.teacher]\nschedule = "plateau"\n[protocol]\nvalidation = 0'),
        ("m.toml: recipe.teacher.schedule: needs validation images, but protocol.validation is 0; set it",),
    ),
    "a search seed that is reported": (
        ("", "[protocol]\nsearch_seeds = [100, 1]"),
        ("m.toml: protocol.search_seeds: must not contain a seed of 'seeds', got 1 in both; choose other search",),
    ),
    "a search without a sweep": (
        ("", "[protocol]\nsearch_seeds = [100]"),
        ("m.toml: protocol.search_seeds: no label has two or more configurations to choose from; give a list",),
    ),
    "a refit without a search": (
        ("", "[protocol]\nrefit = true"),
        ("m.toml: protocol.refit: needs protocol.search_seeds, because ", "set search_seeds = [100], or remove refit"),
    ),
    "a paired split with one teacher": (
        ("", '[protocol]\nsplit_seed = "paired"'),
        ('m.toml: protocol.split_seed: "paired" needs teacher_seed = "paired", got teacher_seed = 0; otherwise a ',),
    ),
    "a swept recipe of the teacher": (
        ("epochs = 2", "epochs = [2, 3]"),
        ("m.toml: recipe.epochs: the teacher needs one value, got [2, 3]; set recipe.teacher.epochs to one value",),
    ),
    "an empty sweep of the recipe": (
        ("", "[recipe.student]\nepochs = []"),
        ("m.toml: recipe.student.epochs: must have at least 1 value, got []; give a value or remove the key",),
    ),
    "a repeated value of the recipe": (
        ("", "[recipe.student]\nepochs = [3, 4, 3]"),
        ("m.toml: recipe.epochs: must not repeat a value, got 3 twice",),
    ),
    "a missing module": (
        ("", '[methods."nowhere_at_all:Mine"]'),
        ("method 'nowhere_at_all:Mine': module 'nowhere_at_all' not found; modules are searched",),
    ),
    "a module with a syntax error": (
        ("", '[methods."faulty_module:Mine"]'),
        ("m.toml: methods.faulty_module:Mine: ", "raises SyntaxError: "),
    ),
    "a class that is no method": (
        ("", '[methods."pathlib:Path"]'),
        ("'pathlib:Path' must be a @final class derived from kdbench.Method",),
    ),
    "a network without a factory": (
        ("mlp_16", "mine"),
        ("m.toml: pairs: unknown network 'mine' (a custom network needs a factory)",),
    ),
    "a missing factory": (
        ('student = "mlp_16" }]', 'student = "mine" }]\nnetwork.mine.factory = "nowhere_at_all:make"'),
        ("m.toml: network.mine: factory 'nowhere_at_all:make': module 'nowhere_at_all' not found",),
    ),
    "no thread": (
        ("", "[run]\nthreads = 0"),
        ("m.toml: run.threads: must be greater than or equal",),
    ),
}


@pytest.fixture
def matrix(tmp_path: Path) -> Path:
    """A valid matrix."""
    path = tmp_path / "m.toml"
    path.write_text(MATRIX)
    return path


def edited(edit: Edit) -> str:
    before, after = edit
    assert before in MATRIX
    return MATRIX.replace(before, after, 1) if before else MATRIX + after


def trained(results: Path) -> list[Path]:
    return list(results.glob("runs/*"))


@pytest.mark.parametrize("command", ["plan", "run"])
@pytest.mark.parametrize(("edit", "parts"), CASES.values(), ids=CASES)
def test_one_clear_error_and_nothing_is_trained(
    matrix: Path, invoke: Callable[..., Any], tmp_path: Path, edit: Edit, parts: tuple[str, ...], command: str
) -> None:
    (tmp_path / "faulty_module.py").write_text("def f(:\n")
    matrix.write_text(edited(edit))
    result = invoke(command, "m.toml")
    assert result.status == 1
    assert [part for part in parts if part not in result.error] == []
    assert "Traceback" not in result.out + result.err
    assert trained(tmp_path / "results") == []


def test_the_unedited_matrix_is_valid(matrix: Path, invoke: Callable[..., Any]) -> None:
    assert invoke("plan", matrix).status == 0


def test_a_missing_matrix(invoke: Callable[..., Any]) -> None:
    result = invoke("run", "missing.toml")
    assert result.status == 1
    assert result.error == "missing.toml: file not found; `kdbench init missing.toml` writes a commented example"


def test_an_address_needs_the_ray_executor(matrix: Path, invoke: Callable[..., Any]) -> None:
    result = invoke("run", "m.toml", "--address", "10.0.0.1:6379")
    assert result.status == 1
    assert result.error.startswith("--address is for a Ray cluster, got 10.0.0.1:6379; add --executor ray")


def test_a_folder_instead_of_a_matrix(invoke: Callable[..., Any], tmp_path: Path) -> None:
    assert invoke("run", tmp_path).error == f"{tmp_path}: cannot be read: Is a directory"


def test_a_file_instead_of_the_results_folder(matrix: Path, invoke: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "results").write_text("kept")
    result = invoke("run", matrix)
    assert result.status == 1
    assert result.error.startswith("results: cannot be written (")
    assert "choose another results folder with --results" in result.error
    assert (tmp_path / "results").read_text() == "kept"


def test_a_file_instead_of_the_results_folder_does_not_prevent_a_plan(
    matrix: Path, invoke: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "results").write_text("kept")
    assert invoke("plan", matrix).status == 0


@pytest.fixture
def read_only(copied: Any) -> Iterator[Path]:
    """A read-only results folder: a mount, since root ignores permission bits."""
    mount = shutil.which("mount")
    if mount is None or os.geteuid() != 0:
        pytest.skip("a read-only mount needs root and mount(8)")
    results = copied.results
    if subprocess.run([mount, "--bind", results, results], capture_output=True, check=False).returncode:
        pytest.skip("folders cannot be mounted here")
    try:
        if subprocess.run([mount, "-o", "remount,ro,bind", results], capture_output=True, check=False).returncode:
            pytest.skip("folders cannot be mounted read-only here")
        yield results
    finally:
        subprocess.run(["umount", results], check=True)


def test_nothing_is_trained_into_a_read_only_results_folder(
    read_only: Path, copied: Any, invoke: Callable[..., Any]
) -> None:
    before = sorted(path.name for path in trained(read_only))
    copied.matrix.write_text(copied.matrix.read_text().replace("epochs = 2", "epochs = 3"))
    result = invoke("run", copied.matrix)
    assert result.status == 1
    assert result.error.startswith("results: cannot be written (Read-only file system); choose another results folder")
    assert sorted(path.name for path in trained(read_only)) == before


def test_a_read_only_results_folder_can_be_read(read_only: Path, copied: Any, invoke: Callable[..., Any]) -> None:
    assert invoke("status").status == 0
    assert "9 runs (9 done)" in invoke("plan", copied.matrix).out
    assert invoke("run", copied.matrix).out.startswith("9 runs of tiny finished before; nothing to train")


@pytest.mark.parametrize(
    "command", [["run", "tiny.toml"], ["plan", "tiny.toml"], ["status"], ["report"], ["show", "0"]]
)
def test_a_results_folder_of_a_newer_version(copied: Any, invoke: Callable[..., Any], command: list[str]) -> None:
    write_json(copied.results / "kdbench.json", {"format": 3, "threads": 1})
    before = {path: path.stat().st_mtime_ns for path in copied.results.rglob("*")}
    result = invoke(*command)
    assert result.status == 1
    assert result.error.startswith(
        "results: written by a newer kdbench (format 3, this version reads format 2); upgrade"
    )
    assert {path: path.stat().st_mtime_ns for path in copied.results.rglob("*")} == before


def test_a_corrupted_results_folder(copied: Any, invoke: Callable[..., Any]) -> None:
    (copied.results / "kdbench.json").write_text("{")
    result = invoke("run", "tiny.toml")
    assert result.status == 1
    assert "results/kdbench.json: corrupted" in result.error


def test_the_threads_of_a_results_folder_cannot_be_changed(copied: Any, invoke: Callable[..., Any]) -> None:
    text = (
        copied.matrix.read_text().replace("workers = 1", "workers = 1\nthreads = 2").replace("epochs = 2", "epochs = 3")
    )
    copied.matrix.write_text(text)
    result = invoke("run", "tiny.toml")
    assert result.status == 1
    assert result.error.startswith("run.threads is 2, but the runs in results were trained with 1 per worker")
    assert read_json(copied.results / "kdbench.json")["threads"] == 1
    assert len(trained(copied.results)) == 9


def test_an_invalid_matrix_changes_no_results(copied: Any, invoke: Callable[..., Any]) -> None:
    before = {path: path.read_bytes() for path in copied.results.rglob("*") if path.is_file()}
    copied.matrix.write_text(copied.matrix.read_text().replace("epochs = 2", "epochs = -1"))
    assert "recipe.epochs: must be greater than or equal to 0, got -1" in invoke("run", "tiny.toml").error
    assert {path: path.read_bytes() for path in copied.results.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("content", ["{", "[]", "null"])
def test_a_corrupted_result_is_planned_again(copied: Any, invoke: Callable[..., Any], content: str) -> None:
    store = Store(copied.results)
    first, *_ = store.run_ids()
    (store.folder(first) / "result.json").write_text(content)
    assert "9 runs (8 done, 1 pending)" in invoke("plan", "tiny.toml").out
