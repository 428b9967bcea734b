"""`plan`: what would run, before anything runs."""

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


def test_the_table_counts_configurations_and_runs(matrix: Path, invoke: Callable[..., Any]) -> None:
    result = invoke("plan", matrix)
    assert result.status == 0
    rows = counts(result.out.partition("9 runs (")[0])
    assert rows["data set: pair / method"] == ["configurations", "runs", "pending", "incompatible"]
    assert rows["teacher"] == ["1", "1", "1", "·"]
    assert rows["student from scratch"] == ["1", "2", "2", "·"]
    assert rows["vanilla"] == ["2", "4", "4", "·"]
    assert rows["vanilla + rkd_da"] == ["1", "2", "2", "·"]
    assert rows["attention"] == ["1", "·", "·", "2"]


def test_the_summary_counts_runs_once(matrix: Path, invoke: Callable[..., Any]) -> None:
    assert (
        "9 runs (9 pending): 1 teacher, 6 distilled, 2 from scratch or needed by others; 2 incompatible\n"
        in invoke("plan", matrix).out
    )


def test_a_matrix_with_everything_excluded_has_no_runs(matrix: Path, invoke: Callable[..., Any]) -> None:
    with matrix.open("a", encoding="utf-8") as file:
        file.write('\n[[exclude]]\ndataset = "digits"\n')
    assert (
        "0 runs: 0 teachers, 0 distilled, 0 from scratch or needed by others; 0 incompatible\n"
        in invoke("plan", matrix).out
    )


def test_the_reason_of_an_incompatible_cell_is_printed(matrix: Path, invoke: Callable[..., Any]) -> None:
    assert (
        "incompatible: digits / cnn_8_16 -> mlp_16 / attention: attention compares feature maps and needs stages "
        "with height and width, but the student has none (H = W = 1, or no stages)\n"
    ) in invoke("plan", matrix).out


def test_nothing_is_written(matrix: Path, invoke: Callable[..., Any], tmp_path: Path) -> None:
    invoke("plan", matrix)
    assert list(tmp_path.iterdir()) == [matrix]


def test_json_is_the_complete_plan(matrix: Path, invoke: Callable[..., Any]) -> None:
    plan = invoke("plan", matrix, "--json").json
    assert (plan["matrix"], plan["custom_code"], plan["warnings"]) == ("tiny", [], [])
    assert len(plan["runs"]) == len({run["id"] for run in plan["runs"]}) == 9
    teacher = plan["runs"][0]
    assert (teacher["student"], teacher["method"], teacher["seed"], teacher["needs"]) == ("cnn_8_16", "scratch", 0, {})
    distilled = [run for run in plan["runs"] if run["method"] == "vanilla"]
    assert {run["parameters"]["vanilla"]["alpha"] for run in distilled} == {0.5, 0.9}
    assert {run["needs"]["teacher"] for run in distilled} == {teacher["id"]}
    (incompatible,) = plan["incompatible"]
    assert incompatible["cell"] == ["digits", "cnn_8_16 -> mlp_16", "attention"]
    assert incompatible["runs"] == 2


def test_done_runs_are_counted(tiny: Any, invoke: Callable[..., Any]) -> None:
    result = invoke("plan", tiny.matrix, "--results", tiny.results)
    assert counts(result.out)["data set: pair / method"] == ["configurations", "runs", "done", "incompatible"]
    assert "9 runs (9 done)" in result.out
    states = {run["state"] for run in invoke("plan", tiny.matrix, "--results", tiny.results, "--json").json["runs"]}
    assert states == {"done"}


def test_failed_and_pending_runs_are_counted(copied: Any, invoke: Callable[..., Any]) -> None:
    store = Store(copied.results)
    first, second, *_ = store.run_ids()
    store.write_result(first, {"status": "failed", "error": "no"})
    store.clear_result(second)
    assert "9 runs (7 done, 1 failed, 1 pending)" in invoke("plan", copied.matrix).out


def test_an_exclude_that_matches_nothing_is_a_warning(matrix: Path, invoke: Callable[..., Any]) -> None:
    matrix.write_text(matrix.read_text() + '[[exclude]]\nmethod = "fitnets"\n')
    result = invoke("plan", "tiny.toml")
    assert result.status == 0
    assert result.out.endswith("warning: tiny.toml: exclude[0]: has no effect\n")
    assert invoke("plan", "tiny.toml", "--json").json["warnings"] == ["tiny.toml: exclude[0]: has no effect"]


def test_excluded_runs_are_printed_with_the_reason(matrix: Path, invoke: Callable[..., Any]) -> None:
    matrix.write_text(matrix.read_text() + '[[exclude]]\nmethod = "vanilla"\nseed = 1\nwhy = "too slow"\n')
    text = "digits / cnn_8_16 -> mlp_16 / {} (seeds 1): too slow"
    assert f"excluded: {text.format('vanilla')}\n" in invoke("plan", matrix).out
    assert invoke("plan", matrix, "--json").json["excluded"] == [
        text.format("vanilla"),
        text.format("vanilla + rkd_da"),
    ]


def test_rows_are_in_the_order_of_the_matrix_also_if_incompatible(matrix: Path, invoke: Callable[..., Any]) -> None:
    text = matrix.read_text().replace(" }]", ' }, { teacher = "cnn_8_16", student = "cnn_4" }]')
    matrix.write_text(text.replace("[methods.vanilla]", "[methods.fitnets]\n[methods.vanilla]"))
    plan = invoke("plan", matrix, "--json").json
    labels = ["teacher", "student from scratch", "fitnets", "vanilla", "vanilla + rkd_da", "attention"]
    pairs = ["cnn_8_16 -> mlp_16", "cnn_8_16 -> cnn_4"]
    assert [(cell["pair"], cell["method"]) for cell in plan["cells"]] == [(p, label) for p in pairs for label in labels]


def test_custom_code_is_printed(matrix: Path, invoke: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "custom_networks.py").write_text(
        "from kdbench.models.mlp import build\n\ndef small(num_classes, image_shape):\n"
        "    return build('mlp_8', num_classes, image_shape)\n"
    )
    text = matrix.read_text().replace("mlp_16", "mine") + '[network.mine]\nfactory = "custom_networks:small"\n'
    matrix.write_text(text)
    assert "runs custom code: custom_networks:small\n" in invoke("plan", matrix).out


def test_markup_in_names_is_printed_as_it_is(matrix: Path, invoke: Callable[..., Any]) -> None:
    matrix.write_text(matrix.read_text().replace("[methods.vanilla]", '[methods."[red]x[/red]"]\nmethod = "vanilla"'))
    assert counts(invoke("plan", matrix).out)["[red]x[/red]"] == ["2", "4", "4", "·"]


def test_a_missing_data_set_is_one_line(
    matrix: Path, invoke: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    matrix.write_text(matrix.read_text().replace('"digits"', '"digits", "cifar100"'))
    result = invoke("plan", matrix)
    assert result.status == 0
    (line,) = [line for line in result.out.splitlines() if line.startswith("provisional: ")]
    assert f"'cifar100' not found: {tmp_path / 'data' / 'cifar-100-python' / 'train'} does not exist; " in line
    assert "'root' must name a folder with cifar-100-python/ that contains the files of cifar-100-python.tar.gz" in line
    assert line.endswith("; the ids of its runs will change")
    assert invoke("plan", matrix, "--json").json["provisional"] == ["cifar100"]
    assert list(tmp_path.iterdir()) == [matrix]


def test_no_id_is_provisional_if_the_data_are_there(matrix: Path, invoke: Callable[..., Any]) -> None:
    assert "provisional" not in invoke("plan", matrix).out
    assert invoke("plan", matrix, "--json").json["provisional"] == []


def test_a_plan_of_small_networks_imports_torch_but_not_its_compiler(
    matrix: Path, modules_after: Callable[..., set[str]]
) -> None:
    imported = modules_after("plan", matrix)
    assert "torch" in imported
    assert not imported & {"torch._dynamo", "torch._inductor", "sympy", "torchvision", "timm", "pandas", "optuna"}
