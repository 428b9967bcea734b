"""`tune`, on the results of the small matrix, which hold the default configuration of the method."""

import importlib
import json
import shutil
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from kdbench.results import Store
from kdbench.tuning import Trial, TuningResult

TUNE_MODULE = importlib.import_module("kdbench.cli.tune")  # kdbench.cli.app has a function of that name
TRIALS = (Trial({"alpha": 0.9}, {0: 0.25}, 2), Trial({"alpha": 0.5}, {0: 0.5}))
TUNE = ("tune", "--method", "vanilla", "--matrix", "tiny.toml", "--trials")


@dataclass(frozen=True)
class Tuning:
    """What three trials result and left, and how many runs there were before."""

    folder: Path
    result: Any
    before: frozenset[str]

    @property
    def results(self) -> Path:
        return self.folder / "results"

    @property
    def name(self) -> str:
        (journal,) = (self.results / "tuning").iterdir()
        return journal.stem

    @property
    def printed(self) -> dict[str, Any]:
        """The printed part of a matrix."""
        return tomllib.loads(self.result.out.partition("for a matrix:\n")[2].partition("\nall trials:")[0])


@pytest.fixture(scope="module")
def tuning(
    tiny: Any, tmp_path_factory: pytest.TempPathFactory, in_folder: Callable[..., Any], invoke: Callable[..., Any]
) -> Tuning:
    folder = tmp_path_factory.mktemp("tuning")
    shutil.copytree(tiny.folder, folder, dirs_exist_ok=True)
    before = frozenset(Store(folder / "results").run_ids())
    with in_folder(folder):
        return Tuning(folder, invoke(*TUNE, "3"), before)


@pytest.mark.slow
def test_the_search_is_described(tuning: Tuning) -> None:
    assert tuning.result.status == 0
    assert tuning.result.out.startswith(
        "tuning vanilla on digits, cnn_8_16 -> mlp_16: 3 trials x 2 seeds, chosen by validation accuracy\n"
    )
    assert "best of 3 trials (0 with failed runs): validation accuracy " in tuning.result.out
    assert "\nvalidation accuracy: mean over seeds 0, 1, on " in tuning.result.out
    assert "; defaults (alpha = 0.9, temperature = 4): 0." in tuning.result.out


@pytest.mark.slow
def test_finished_runs_are_not_trained_again(tuning: Tuning) -> None:
    """The baselines and the default configuration are runs of the small matrix."""
    trained = set(Store(tuning.results).run_ids()) - tuning.before
    assert len(trained) == 2 * 2
    assert "9 runs, 5 already finished" in tuning.result.out


@pytest.mark.slow
def test_trials_are_ordinary_runs(tuning: Tuning) -> None:
    rows = pq.read_table(tuning.results / "results.parquet").to_pylist()
    trials = [row for row in rows if tuning.name in row["matrix"].split("; ") and row["label"] == "vanilla"]
    assert len(trials) == 3 * 2
    assert {row["status"] for row in trials} == {"done"}
    shared = [row for row in trials if row["run_id"] in tuning.before]
    assert {row["matrix"] for row in shared} == {f"tiny; {tuning.name}"}
    assert {(row["param.alpha"], row["param.temperature"]) for row in shared} == {(0.9, 4.0)}


@pytest.mark.slow
def test_the_best_configuration_is_the_one_with_the_best_mean_validation(tuning: Tuning) -> None:
    rows = pq.read_table(tuning.results / "results.parquet").to_pylist()
    scores: dict[tuple[float, float], list[float]] = {}
    for row in rows:
        if tuning.name in row["matrix"] and row["label"] == "vanilla":
            scores.setdefault((row["param.alpha"], row["param.temperature"]), []).append(row["val_accuracy"])
    best = max(sum(found) / 2 for found in scores.values())
    (table,) = tuning.printed["methods"].values()
    assert sum(scores[table["alpha"], table["temperature"]]) / 2 == pytest.approx(best)
    assert f"validation accuracy {best:.4f};" in tuning.result.out


@pytest.mark.slow
def test_the_printed_configuration_can_be_pasted_into_a_matrix(
    tuning: Tuning, invoke: Callable[..., Any], in_folder: Callable[..., Any]
) -> None:
    head = (tuning.folder / "tiny.toml").read_text().partition("[methods")[0]
    piece = tuning.result.out.partition("for a matrix:\n")[2].partition("\nall trials:")[0]
    (tuning.folder / "pasted.toml").write_text(head + piece)
    with in_folder(tuning.folder):
        plan = json.loads(invoke("plan", "pasted.toml", "--json").out)
    assert {run["state"] for run in plan["runs"]} == {"done"}
    assert len(plan["runs"]) == 1 + 2 + 2


@pytest.mark.slow
def test_the_trials_have_a_report(tuning: Tuning, invoke: Callable[..., Any], in_folder: Callable[..., Any]) -> None:
    with in_folder(tuning.folder):
        assert tuning.result.out.endswith(f"all trials: kdbench report {tuning.name}\n")
        assert invoke("report", tuning.name).status == 0
    text = (tuning.folder / "reports" / tuning.name / "report.md").read_text()
    assert text.startswith(f"# {tuning.name}".replace("_", r"\_"))


@pytest.mark.slow
def test_retry_names_no_file_for_a_trial(tuning: Tuning, invoke: Callable[..., Any], tmp_path: Path) -> None:
    shutil.copytree(tuning.folder, tmp_path, dirs_exist_ok=True)
    trial = min(set(Store("results").run_ids()) - tuning.before)
    Store("results").write_result(trial, {"status": "failed", "error": "NaN"})
    assert invoke("retry", "--json").json == {"queued": [trial], "commands": []}


@pytest.mark.slow
def test_more_trials_train_only_new_runs(tuning: Tuning, invoke: Callable[..., Any], tmp_path: Path) -> None:
    shutil.copytree(tuning.folder, tmp_path, dirs_exist_ok=True)
    result = invoke(*TUNE, "4")
    assert result.status == 0
    assert "11 runs, 9 already finished" in result.out
    assert "best of 4 trials (0 with failed runs)" in result.out


@pytest.mark.slow
def test_the_same_number_of_trials_prints_the_same(
    tuning: Tuning, invoke: Callable[..., Any], in_folder: Callable[..., Any]
) -> None:
    with in_folder(tuning.folder):
        result = invoke(*TUNE, "3")
    assert result.out.partition("best of")[2] == tuning.result.out.partition("best of")[2]


def test_the_configuration_of_a_custom_sum_is_valid_toml(
    invoke: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    table = {
        "vanilla": {"alpha": 1e-05},
        "my.methods:Own": {"weight": 3, "on": 'a "b"', "hard": True, "layers": [1, 2]},
    }
    found = TuningResult("tune-x", TRIALS[1], Trial({"vanilla.alpha": 0.9}), TRIALS, table, (100,), 144)
    monkeypatch.setattr(TUNE_MODULE, "tune", lambda *arguments: found)
    monkeypatch.setattr(TUNE_MODULE, "find_label", lambda method, base: (method, ()))
    out = invoke("tune", "--method", "vanilla + my.methods:Own").out
    printed = tomllib.loads(out.partition("for a matrix:\n")[2].partition("\nall trials:")[0])
    assert printed == {"methods": {"vanilla + my.methods:Own": table}}
    assert (
        "best of 2 trials (1 with failed runs): validation accuracy 0.5000; defaults (vanilla.alpha = 0.9): no score"
        in out
    )
    assert "\nvalidation accuracy: mean over seed 100, on 144 validation images; the best of several trials" in out
    assert "\nfailed: 2 runs of 3 with alpha = 0.9\n" in out


@pytest.mark.slow
def test_a_label_is_tuned_with_its_fixed_values(
    copied: Any, invoke: Callable[..., Any], in_folder: Callable[..., Any]
) -> None:
    table = '[methods.paper]\nmethod = ["triplet", "vanilla"]\ntriplet.on = "logits"\nvanilla.alpha = 0.5\n[run]'
    copied.matrix.write_text(copied.matrix.read_text().replace("[run]", table))
    result = invoke("tune", "--method", "paper", "--matrix", "tiny.toml", "--trials", "1")
    assert result.status == 0
    piece = result.out.partition("for a matrix:\n")[2].partition("\nall trials:")[0]
    (printed,) = tomllib.loads(piece)["methods"].values()
    assert printed["method"] == ["triplet", "vanilla"]
    assert (printed["triplet"]["on"], printed["vanilla"]["alpha"]) == ("logits", 0.5)
    pasted = copied.matrix.read_text().partition("[methods")[0] + piece
    copied.matrix.with_name("pasted.toml").write_text(pasted)
    plan = json.loads(invoke("plan", "pasted.toml", "--json").out)
    assert {run["state"] for run in plan["runs"]} == {"done"}


REFUSED = {
    "no ranges": ("dml", "", "'dml' declares no range to search; `kdbench list methods NAME` prints a method's ranges"),
    "unknown": ("vanila", "", "unknown method 'vanila'; did you mean 'vanilla'?"),
    "incompatible": ("attention", "", "'attention' is incompatible with the pair: attention compares"),
    "no validation": (
        "vanilla",
        "[protocol]\nvalidation = 0\n",
        "tiny.toml: protocol.validation is 0, but tuning needs",
    ),
}


@pytest.mark.parametrize(("method", "more", "message"), REFUSED.values(), ids=REFUSED)
def test_a_method_that_cannot_be_tuned_is_an_error(
    copied: Any, invoke: Callable[..., Any], method: str, more: str, message: str
) -> None:
    copied.matrix.write_text(copied.matrix.read_text() + more)
    result = invoke("tune", "--method", method, "--matrix", "tiny.toml", "--trials", "2")
    assert result.status == 1
    assert message in result.error
    assert len(Store(copied.results).run_ids()) == 9


def test_the_default_matrix_is_the_quickstart(invoke: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []

    def record(method: str, base: Any, trials: int, store: Any, on_plan: Any) -> TuningResult:
        calls.append((method, base.name, trials))
        assert base.methods == {}, "the values of its labels would be fixed"
        return TuningResult("tune-x", Trial({"alpha": 0.5}, {0: 0.5}), Trial({"alpha": 0.9}, {0: 0.25}), TRIALS)

    monkeypatch.setattr(TUNE_MODULE, "tune", record)
    result = invoke("tune", "--method", "vanilla")
    assert calls == [("vanilla", "quickstart", 20)]
    assert "cnn_32_64_fc128 -> cnn_8_16: 20 trials x " in result.out
    assert "validation accuracy 0.5000; defaults (alpha = 0.9): 0.2500" in result.out


def test_zero_trials_are_a_usage_error(invoke: Callable[..., Any]) -> None:
    result = invoke("tune", "--method", "vanilla", "--trials", "0")
    assert result.status == 2
    assert "--trials" in result.err
