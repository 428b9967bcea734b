"""`plan`: what would run, before anything runs."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kdbench.results import Store


def counts(text: str) -> dict[str, list[str]]:
    """The rows of the table: label -> its numbers."""
    found = {}
    for line in filter(str.strip, text.splitlines()):
        label, *numbers = [word for word in line.split("  ") if word.strip()]
        if numbers:
            found[label.strip()] = [number.strip() for number in numbers]
    return found


@pytest.fixture
def matrix(tiny: Any, tmp_path: Path) -> Path:
    """The small matrix in a folder without results."""
    path = tmp_path / "tiny.toml"
    path.write_text(tiny.matrix.read_text())
    return path


def test_the_table_counts_configurations_and_runs(matrix: Path, say: Callable[..., Any]) -> None:
    said = say("plan", matrix)
    assert said.status == 0
    rows = counts(said.out.partition("different runs")[0])
    assert rows["data set: pair / method"] == ["configurations", "runs", "pending", "incompatible"]
    assert rows["teacher"] == ["1", "1", "1", "·"]
    assert rows["scratch"] == ["1", "2", "2", "·"]
    assert rows["vanilla"] == ["2", "4", "4", "·"]
    assert rows["vanilla + rkd_da"] == ["1", "2", "2", "·"]
    assert rows["attention"] == ["1", "·", "·", "2"]


def test_the_summary_counts_runs_once(matrix: Path, say: Callable[..., Any]) -> None:
    assert (
        "9 different runs (9 pending); teachers: 1, distilled: 6, other baselines and runs that others need: 2, "
        in say("plan", matrix).out
    )


def test_a_matrix_of_which_nothing_is_left_has_no_runs(matrix: Path, say: Callable[..., Any]) -> None:
    with matrix.open("a", encoding="utf-8") as file:
        file.write('\n[[exclude]]\ndataset = "digits"\n')
    assert "0 different runs; teachers: 0, distilled: 0" in say("plan", matrix).out


def test_the_reason_of_an_impossible_cell_is_told(matrix: Path, say: Callable[..., Any]) -> None:
    assert (
        "cannot run: digits / cnn_8_16 -> mlp_16 / attention: attention compares feature maps and needs stages with "
        "height and width, but the student has none (H = W = 1, or no stages)\n"
    ) in say("plan", matrix).out


def test_nothing_is_written(matrix: Path, say: Callable[..., Any], tmp_path: Path) -> None:
    say("plan", matrix)
    assert list(tmp_path.iterdir()) == [matrix]


def test_json_is_the_plan_whole(matrix: Path, say: Callable[..., Any]) -> None:
    plan = json.loads(say("plan", matrix, "--json").out)
    assert (plan["matrix"], plan["code"], plan["warnings"]) == ("tiny", [], [])
    assert len(plan["runs"]) == len({run["id"] for run in plan["runs"]}) == 9
    teacher = plan["runs"][0]
    assert (teacher["student"], teacher["method"], teacher["seed"], teacher["needs"]) == ("cnn_8_16", "scratch", 0, {})
    distilled = [run for run in plan["runs"] if run["method"] == "vanilla"]
    assert {run["parameters"]["vanilla"]["alpha"] for run in distilled} == {0.5, 0.9}
    assert {run["needs"]["teacher"] for run in distilled} == {teacher["id"]}
    (incompatible,) = plan["incompatible"]
    assert incompatible["cell"] == ["digits", "cnn_8_16 -> mlp_16", "attention"]
    assert incompatible["runs"] == 2


def test_what_is_done_is_counted(tiny: Any, say: Callable[..., Any]) -> None:
    said = say("plan", tiny.matrix, "--results", tiny.results)
    assert counts(said.out)["data set: pair / method"] == ["configurations", "runs", "done", "incompatible"]
    assert "9 different runs (9 done)" in said.out
    states = {
        run["state"] for run in json.loads(say("plan", tiny.matrix, "--results", tiny.results, "--json").out)["runs"]
    }
    assert states == {"done"}


def test_a_failed_and_a_waiting_run_are_counted(copied: Any, say: Callable[..., Any]) -> None:
    store = Store(copied.results)
    first, second, *_ = store.run_ids()
    store.write_result(first, {"status": "failed", "error": "no"})
    store.clear_result(second)
    assert "9 different runs (7 done, 1 failed, 1 pending)" in say("plan", copied.matrix).out


def test_an_exclude_that_matches_nothing_is_a_warning(matrix: Path, say: Callable[..., Any]) -> None:
    matrix.write_text(matrix.read_text() + '[[exclude]]\nmethod = "fitnets"\n')
    said = say("plan", "tiny.toml")
    assert said.status == 0
    assert said.out.endswith("warning: tiny.toml: exclude[0]: matches nothing\n")
    assert json.loads(say("plan", "tiny.toml", "--json").out)["warnings"] == ["tiny.toml: exclude[0]: matches nothing"]


def test_what_is_left_out_is_told_with_its_reason(matrix: Path, say: Callable[..., Any]) -> None:
    matrix.write_text(matrix.read_text() + '[[exclude]]\nmethod = "vanilla"\nseed = 1\nwhy = "too slow"\n')
    told = "digits / cnn_8_16 -> mlp_16 / {} (seeds 1): too slow"
    assert f"left out: {told.format('vanilla')}\n" in say("plan", matrix).out
    assert json.loads(say("plan", matrix, "--json").out)["excluded"] == [
        told.format("vanilla"),
        told.format("vanilla + rkd_da"),
    ]


def test_rows_are_in_the_matrixs_order_whether_they_can_run_or_not(matrix: Path, say: Callable[..., Any]) -> None:
    text = matrix.read_text().replace(" }]", ' }, { teacher = "cnn_8_16", student = "cnn_4" }]')
    matrix.write_text(text.replace("[methods.vanilla]", "[methods.fitnets]\n[methods.vanilla]"))
    plan = json.loads(say("plan", matrix, "--json").out)
    labels = ["teacher", "scratch", "fitnets", "vanilla", "vanilla + rkd_da", "attention"]
    pairs = ["cnn_8_16 -> mlp_16", "cnn_8_16 -> cnn_4"]
    assert [(cell["pair"], cell["method"]) for cell in plan["cells"]] == [(p, label) for p in pairs for label in labels]


def test_code_of_the_users_is_named(matrix: Path, say: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "nets_of_my_own.py").write_text(
        "from kdbench.models.mlp import build\n\ndef small(num_classes, image_shape):\n"
        "    return build('mlp_8', num_classes, image_shape)\n"
    )
    text = matrix.read_text().replace("mlp_16", "mine") + '[network.mine]\nfactory = "nets_of_my_own:small"\n'
    matrix.write_text(text)
    assert "runs code of your own: nets_of_my_own:small\n" in say("plan", matrix).out


def test_markup_in_names_is_shown_not_obeyed(matrix: Path, say: Callable[..., Any]) -> None:
    matrix.write_text(matrix.read_text().replace("[methods.vanilla]", '[methods."[red]x[/red]"]\nmethod = "vanilla"'))
    assert counts(say("plan", matrix).out)["[red]x[/red]"] == ["2", "4", "4", "·"]


def test_a_data_set_that_is_absent_is_told_in_one_line(
    matrix: Path, say: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    matrix.write_text(matrix.read_text().replace('"digits"', '"digits", "cifar100"'))
    said = say("plan", matrix)
    assert said.status == 0
    (line,) = [line for line in said.out.splitlines() if line.startswith("provisional: ")]
    assert f"'cifar100' not found: {tmp_path / 'data' / 'cifar-100-python' / 'train'} does not exist; " in line
    assert "'root' must name a folder with cifar-100-python/ that contains the files of cifar-100-python.tar.gz" in line
    assert line.endswith("; the ids of its runs will change")
    assert json.loads(say("plan", matrix, "--json").out)["provisional"] == ["cifar100"]
    assert list(tmp_path.iterdir()) == [matrix]


def test_with_the_data_no_id_is_provisional(matrix: Path, say: Callable[..., Any]) -> None:
    assert "provisional" not in say("plan", matrix).out
    assert json.loads(say("plan", matrix, "--json").out)["provisional"] == []
