"""A matrix with search seeds, from the plan to the report, with real training."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import kdbench
from kdbench.results import MatrixIndex, Store

MATRIX = """
name = "search"
seeds = [0, 1]
datasets = ["digits"]
pairs = [{ teacher = "cnn_4_8", student = "mlp_16" }]

[recipe]
epochs = 2
batch_size = 32
train_samples = 100
precision = "fp32"
optimizer = { name = "adamw", lr = 1e-2 }

[recipe.student]
optimizer.lr = [1e-2, 1e-5]

[protocol]
search_seeds = [100, 101]
refit = true

[methods.vanilla]
alpha = [0.5, 0.9]

[methods.logit_mse]
recipe.optimizer.lr = 1e-2

[run]
devices = "cpu"
workers = 1
"""


@dataclass(frozen=True)
class Searched:
    """A matrix after its run."""

    folder: Path
    out: str

    @property
    def index(self) -> MatrixIndex:
        found = Store(self.folder / "results").index("search")
        assert found is not None
        return found


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory, in_folder: Any, invoke: Callable[..., Any]) -> Searched:
    folder = tmp_path_factory.mktemp("search")
    (folder / "search.toml").write_text(MATRIX, encoding="utf-8")
    with in_folder(folder):
        result = invoke("run", "search.toml")
    assert result.status == 0, result.err
    return Searched(folder, result.out)


def counts(plan: Any) -> dict[str, tuple[int, int, int]]:
    return {
        cell["method"]: (cell["configurations"], cell.get("search_runs", 0), cell["runs"]) for cell in plan["cells"]
    }


EXPECTED = {
    "teacher": (1, 1, 1),
    "student from scratch": (2, 4, 2),
    "vanilla": (4, 8, 2),
    "logit_mse": (1, 0, 2),
}


def test_the_plan_counts_both_phases(tmp_path: Path, invoke: Callable[..., Any]) -> None:
    (tmp_path / "search.toml").write_text(MATRIX, encoding="utf-8")
    plan = invoke("plan", "search.toml", "--json").json
    assert counts(plan) == EXPECTED
    assert len(plan["runs"]) == 2 + 4 + 8 + 2
    where = {"dataset": "digits", "pair": "cnn_4_8 -> mlp_16"}
    assert plan["to_choose"] == [
        {**where, "method": "student from scratch", "configurations": 2, "runs": 2},
        {**where, "method": "vanilla", "configurations": 4, "runs": 2},
    ]
    out = invoke("plan", "search.toml").out
    assert (
        "20 runs (20 pending): 2 teachers, 12 in the search, 4 distilled, 2 from scratch or needed by others; "
        "0 incompatible\n2 configurations to be chosen by the runs of search seeds 100, 101\n" in out
    )
    rows = [line.split("  ") for line in out.splitlines()]
    assert [word.strip() for word in next(row for row in rows if "vanilla" in "".join(row)) if word.strip()] == [
        "vanilla", "4", "8", "2", "10"
    ]  # fmt: skip


def test_one_command_trains_the_search_and_the_rest(searched: Searched) -> None:
    assert "] 20 runs, 12 of them in the search, 0 already finished\n" in searched.out
    index = searched.index
    cells = [(cell.label, cell.phase, len(cell.runs)) for cell in index.cells]
    assert cells.count(("vanilla", "search", 2)) == 4
    assert cells.count(("vanilla", "report", 2)) == cells.count(("scratch", "report", 2)) == 1
    assert len(index.run_ids) == 20
    store = Store(searched.folder / "results")
    assert {store.state(run) for run in index.run_ids} == {"done"}


def test_the_best_configuration_of_the_search_is_reported(searched: Searched) -> None:
    index, rows = searched.index, pq.read_table(searched.folder / "results" / "results.parquet").to_pylist()
    accuracy = {row["run_id"]: row["val_accuracy"] for row in rows}
    for label in ("scratch", "vanilla"):
        cells = [cell for cell in index.cells if cell.label == label]
        means = {
            json.dumps(cell.hyperparameters): sum(accuracy[run] for run in cell.runs.values())
            for cell in cells
            if cell.phase == "search"
        }
        (chosen,) = [json.dumps(cell.hyperparameters) for cell in cells if cell.phase == "report"]
        assert means[chosen] == max(means.values())


def test_a_refit_trains_on_all_images_and_validates_on_none(searched: Searched) -> None:
    rows = pq.read_table(searched.folder / "results" / "results.parquet").to_pylist()
    assert {(row["phase"], row["val_accuracy"] is None) for row in rows} == {("search", False), ("report", True)}
    assert all(row["test_accuracy"] is not None for row in rows)


def test_a_finished_search_is_recognized_without_torch(
    searched: Searched, monkeypatch: pytest.MonkeyPatch, modules_after: Callable[..., set[str]]
) -> None:
    monkeypatch.chdir(searched.folder)
    assert not {"torch", "kdbench.plan"} & modules_after("run", "search.toml")


def test_the_plan_of_a_finished_search_has_the_chosen_runs(
    searched: Searched, monkeypatch: pytest.MonkeyPatch, invoke: Callable[..., Any]
) -> None:
    monkeypatch.chdir(searched.folder)
    plan = invoke("plan", "search.toml", "--json").json
    assert (counts(plan), plan["to_choose"]) == (EXPECTED, [])
    assert {run["id"] for run in plan["runs"]} == set(searched.index.run_ids)
    assert {run["state"] for run in plan["runs"]} == {"done"}


def test_a_refit_has_no_best_validation_epoch(
    searched: Searched, monkeypatch: pytest.MonkeyPatch, invoke: Callable[..., Any]
) -> None:
    monkeypatch.chdir(searched.folder)
    result = invoke("report", "--selection", "best_validation")
    assert (result.status, "protocol.refit = true" in result.error) == (1, True)


def test_both_phases_from_python(searched: Searched, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(searched.folder)
    frame = kdbench.run("search.toml", results=tmp_path / "results", reports=tmp_path / "reports", progress=False)
    assert frame["phase"].value_counts().to_dict() == {"search": 13, "report": 7}
    known = {run.id for run in kdbench.load_matrix("search.toml").runs()}
    assert known == set(frame["run_id"]) - {
        run for cell in searched.index.cells if cell.phase == "report" for run in cell.runs.values()
    } | {run for cell in searched.index.cells if cell.label in ("teacher", "logit_mse") for run in cell.runs.values()}


def test_the_status_counts_what_is_to_be_chosen(tmp_path: Path, invoke: Callable[..., Any]) -> None:
    import tomllib

    from kdbench.matrix import parse
    from kdbench.plan import make_plan

    plan = make_plan(parse(tomllib.loads(MATRIX), "search.toml"))
    Store(tmp_path / "results").write_index(plan.index())
    assert invoke("status", "--json").json["search"]["undecided"] == 2
    assert "search: 2 configurations to be chosen by the search; their runs are not counted yet" in invoke("status").out
