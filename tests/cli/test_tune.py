"""`tune`, end to end: on the results of the small matrix, whose one configuration is the default of its method."""

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
from kdbench.tuning import Tuned

TUNE_MODULE = importlib.import_module("kdbench.cli.tune")  # kdbench.cli has a function of that name
TUNE = ("tune", "--method", "vanilla", "--matrix", "tiny.toml", "--trials")


@dataclass(frozen=True)
class Tuning:
    """What three trials said and left, and how many runs there were before."""

    folder: Path
    said: Any
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
        """The piece of a matrix that was printed."""
        return tomllib.loads(self.said.out.partition("for a matrix:\n")[2].partition("\nevery trial:")[0])


@pytest.fixture(scope="module")
def tuning(
    tiny: Any, tmp_path_factory: pytest.TempPathFactory, at: Callable[..., Any], say: Callable[..., Any]
) -> Tuning:
    folder = tmp_path_factory.mktemp("tuning")
    shutil.copytree(tiny.folder, folder, dirs_exist_ok=True)
    text = (folder / "tiny.toml").read_text().replace("alpha = [0.5, 0.9]", "alpha = 0.5")
    (folder / "tiny.toml").write_text(text)
    before = frozenset(Store(folder / "results").run_ids())
    with at(folder):
        return Tuning(folder, say(*TUNE, "3"), before)


def test_it_says_what_is_searched(tuning: Tuning) -> None:
    assert tuning.said.status == 0
    assert tuning.said.out.startswith(
        "tuning vanilla on digits, cnn_8_16 -> mlp_16, 3 trials x 2 seeds, validation only\n"
    )
    assert "best of 3 trials (0 failed): validation accuracy " in tuning.said.out
    assert "; the defaults alpha 0.9, temperature 4: 0." in tuning.said.out


def test_what_was_trained_before_is_not_trained_again(tuning: Tuning) -> None:
    """The baselines and the default configuration are runs of the small matrix."""
    trained = set(Store(tuning.results).run_ids()) - tuning.before
    assert len(trained) == 2 * 2
    assert "9 runs, 5 already finished" in tuning.said.out


def test_trials_are_ordinary_runs(tuning: Tuning) -> None:
    rows = pq.read_table(tuning.results / "results.parquet").to_pylist()
    trials = [row for row in rows if tuning.name in row["matrix"].split("; ") and row["label"] == "vanilla"]
    assert len(trials) == 3 * 2
    assert {row["status"] for row in trials} == {"done"}
    shared = [row for row in trials if row["run_id"] in tuning.before]
    assert {row["matrix"] for row in shared} == {f"tiny; {tuning.name}"}
    assert {(row["param.alpha"], row["param.temperature"]) for row in shared} == {(0.9, 4.0)}


def test_the_best_configuration_is_the_one_with_the_best_mean_validation(tuning: Tuning) -> None:
    rows = pq.read_table(tuning.results / "results.parquet").to_pylist()
    scores: dict[tuple[float, float], list[float]] = {}
    for row in rows:
        if tuning.name in row["matrix"] and row["label"] == "vanilla":
            scores.setdefault((row["param.alpha"], row["param.temperature"]), []).append(row["val_accuracy"])
    best = max(sum(found) / 2 for found in scores.values())
    (table,) = tuning.printed["methods"].values()
    assert sum(scores[table["alpha"], table["temperature"]]) / 2 == pytest.approx(best)
    assert f"validation accuracy {best:.4f};" in tuning.said.out


def test_what_is_printed_is_a_piece_of_a_matrix_that_is_done(
    tuning: Tuning, say: Callable[..., Any], at: Callable[..., Any]
) -> None:
    head = (tuning.folder / "tiny.toml").read_text().partition("[methods")[0]
    piece = tuning.said.out.partition("for a matrix:\n")[2].partition("\nevery trial:")[0]
    (tuning.folder / "pasted.toml").write_text(head + piece)
    with at(tuning.folder):
        plan = json.loads(say("plan", "pasted.toml", "--json").out)
    assert {run["state"] for run in plan["runs"]} == {"done"}
    assert len(plan["runs"]) == 1 + 2 + 2


def test_the_trials_are_reported_under_their_name(
    tuning: Tuning, say: Callable[..., Any], at: Callable[..., Any]
) -> None:
    with at(tuning.folder):
        assert tuning.said.out.endswith(f"every trial: kdbench report {tuning.name} --results results\n")
        assert say("report", tuning.name).status == 0
    text = (tuning.folder / "reports" / tuning.name / "report.md").read_text()
    assert text.startswith(f"# {tuning.name}".replace("_", r"\_"))


def test_going_on_trains_only_what_is_new(tuning: Tuning, say: Callable[..., Any], tmp_path: Path) -> None:
    shutil.copytree(tuning.folder, tmp_path, dirs_exist_ok=True)
    said = say(*TUNE, "4")
    assert said.status == 0
    assert "11 runs, 9 already finished" in said.out
    assert "best of 4 trials (0 failed)" in said.out


def test_as_many_trials_as_before_say_the_same(tuning: Tuning, say: Callable[..., Any], at: Callable[..., Any]) -> None:
    with at(tuning.folder):
        said = say(*TUNE, "3")
    assert said.out.partition("best of")[2] == tuning.said.out.partition("best of")[2]


def test_a_configuration_of_a_sum_of_ones_own_is_valid_toml(
    say: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    best = {"vanilla.alpha": 1e-05, "my.methods:Own.weight": 3}
    found = Tuned("tune-x", best, 0.5, default={"vanilla.alpha": 0.9}, default_score=None, trials=2, failed=1)
    monkeypatch.setattr(TUNE_MODULE, "tune", lambda *arguments: found)
    out = say("tune", "--method", "vanilla + my.methods:Own").out
    table = tomllib.loads(out.partition("for a matrix:\n")[2].partition("\nevery trial:")[0])
    assert table == {
        "methods": {"vanilla + my.methods:Own": {"vanilla": {"alpha": 1e-05}, "my.methods:Own": {"weight": 3}}}
    }
    assert "best of 2 trials (1 failed)" in out
    assert "the defaults vanilla.alpha 0.9: no score" in out


REFUSED = {
    "no ranges": ("dml", "", "'dml' declares no range to search; `kdbench list methods` shows which do"),
    "unknown": ("vanila", "", "there is no method 'vanila'; did you mean 'vanilla'?"),
    "incompatible": ("attention", "", "'attention' cannot run on the pair: attention compares"),
    "no validation": (
        "vanilla",
        "[protocol]\nvalidation = 0\n",
        "tiny.toml: protocol.validation is 0, and tuning reads",
    ),
}


@pytest.mark.parametrize(("method", "more", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_tuned_is_one_error(
    copied: Any, say: Callable[..., Any], method: str, more: str, message: str
) -> None:
    copied.matrix.write_text(copied.matrix.read_text() + more)
    said = say("tune", "--method", method, "--matrix", "tiny.toml", "--trials", "2")
    assert said.status == 1
    assert message in said.error
    assert len(Store(copied.results).run_ids()) == 9


def test_without_a_matrix_it_is_the_quickstart(say: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def take_note(method: str, base: Any, trials: int, store: Any, listen: Any) -> Tuned:
        asked.append((method, base.name, trials))
        return Tuned("tune-x", {"alpha": 0.5}, 0.5, {"alpha": 0.9}, 0.25, trials, 0)

    monkeypatch.setattr(TUNE_MODULE, "tune", take_note)
    said = say("tune", "--method", "vanilla")
    assert asked == [("vanilla", "quickstart", 20)]
    assert "cnn_32_64_fc128 -> cnn_8_16, 20 trials x 3 seeds" in said.out
    assert "validation accuracy 0.5000; the defaults alpha 0.9: 0.2500" in said.out


def test_no_trial_is_a_wrong_call(say: Callable[..., Any]) -> None:
    said = say("tune", "--method", "vanilla", "--trials", "0")
    assert said.status == 2
    assert "--trials" in said.err
