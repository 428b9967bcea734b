"""`list`."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kdbench import data, models
from kdbench.hyperparameters import declared
from kdbench.methods import METHODS


def columns(text: str) -> list[list[str]]:
    """The lines of a table, each as its cells."""
    return [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in text.splitlines() if line.strip()]


def test_methods_are_listed_in_order_one_line_each(invoke: Callable[..., Any]) -> None:
    title, rule, *rows = columns(invoke("list", "methods").out)
    assert title == ["method", "family", "paper"]
    assert set("".join(rule)) == {"─"}
    assert [row[0] for row in rows] == list(METHODS)
    assert ["vanilla", "response", "Hinton et al. 2015"] in rows
    assert all(len(row) == 3 for row in rows)


def test_networks_and_data_sets_are_listed_one_line_each(invoke: Callable[..., Any]) -> None:
    networks = columns(invoke("list", "networks").out)[2:]
    assert [row[:2] for row in networks] == [[family.pattern, family.examples[0]] for family in models.FAMILIES]
    datasets = columns(invoke("list", "datasets").out)[2:]
    assert [row[0] for row in datasets] == list(data.DATASETS)


def test_a_method_is_described_with_its_hyperparameters(invoke: Callable[..., Any]) -> None:
    rows = columns(invoke("list", "methods", "vanilla").out)
    described = {row[0]: row[1] for row in rows if len(row) == 2}
    assert described["paper"] == METHODS["vanilla"].paper
    assert ["L = (1 - alpha) CE(z_s, y) + alpha T^2 KL("] in [[row[0].partition("softmax")[0]] for row in rows]
    assert described["needs"] == "student, teacher"
    assert described["reads"] == "the logits of both networks"
    assert ["alpha", "float in [0, 1]", "0.9", "0.05 to 0.95"] in rows
    assert ["temperature", "float > 0", "4", "1 to 20, log"] in rows


def test_a_custom_method_is_described(invoke: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "custom_described.py").write_text(
        "from typing import final\nfrom kdbench import Offline\n\n@final\nclass Mine(Offline):\n    paper = 'none'\n"
        "    def losses(self, student, teacher, batch):\n        return {}\n"
    )
    entry = invoke("list", "methods", "custom_described:Mine", "--json").json
    assert (entry["family"], entry["paper"], entry["needs"]) == ("custom", "none", "student, teacher")
    assert entry["reads"] == "all outputs of both networks"


def test_a_method_without_hyperparameters_is_described(invoke: Callable[..., Any]) -> None:
    assert not declared(METHODS["dml"])
    result = invoke("list", "methods", "dml")
    assert result.status == 0
    assert "hyperparameters: none" in result.out


@pytest.mark.parametrize("method", METHODS)
def test_every_method_is_described_completely(invoke: Callable[..., Any], method: str) -> None:
    entry = invoke("list", "methods", method, "--json").json
    assert entry["method"] == method
    assert entry["paper"] == METHODS[method].paper
    assert entry["description"] == inspect.cleandoc(METHODS[method].__doc__ or "missing")
    assert [row["name"] for row in entry["hyperparameters"]] == list(declared(METHODS[method]))


@pytest.mark.parametrize("name", ["wrn_D_W", "wrn_40_2", "wrn_22_4"])
def test_a_network_is_described_by_pattern_or_by_name(invoke: Callable[..., Any], name: str) -> None:
    rows = {row[0]: row[1] for row in columns(invoke("list", "networks", name).out) if len(row) == 2}
    assert rows["network"] == "wrn_D_W"
    assert rows["for example"].startswith("wrn_16_2, wrn_40_1, ")
    assert "arXiv:1605.07146" in rows["paper"]


@pytest.mark.parametrize("family", models.FAMILIES, ids=[family.pattern for family in models.FAMILIES])
def test_every_network_is_described(invoke: Callable[..., Any], family: models.Family) -> None:
    entry = invoke("list", "networks", family.pattern, "--json").json
    assert (entry["network"], entry["description"], entry["paper"]) == (
        family.pattern,
        family.description,
        family.paper,
    )


@pytest.mark.parametrize("kind", data.DATASETS)
def test_every_data_set_is_described_with_its_options(invoke: Callable[..., Any], kind: str) -> None:
    entry = invoke("list", "datasets", kind, "--json").json
    assert entry["data set"] == kind
    assert {option["name"] for option in entry["options"]} >= {"resize", "grayscale"}
    assert kind not in ("npz", "folder") or entry["options"][0]["name"] == "root"


@pytest.mark.parametrize(
    ("catalog", "name", "error"),
    [
        ("methods", "vanila", "unknown method 'vanila'; did you mean 'vanilla'?"),
        ("networks", "resnet21", "unknown network 'resnet21'; did you mean 'resnet20'?"),
        ("datasets", "digit", "unknown data set 'digit'; did you mean 'digits'?"),
    ],
)
def test_an_unknown_name_is_an_error(invoke: Callable[..., Any], catalog: str, name: str, error: str) -> None:
    result = invoke("list", catalog, name)
    assert (result.status, result.error) == (1, error)


@pytest.mark.parametrize("catalog", ["methods", "networks", "datasets"])
def test_json_has_the_lines_and_nothing_is_written(invoke: Callable[..., Any], tmp_path: Any, catalog: str) -> None:
    lines = invoke("list", catalog, "--json").json
    rows = columns(invoke("list", catalog).out)
    assert list(lines[0]) == rows[0]
    assert [next(iter(line.values())) for line in lines] == [row[0] for row in rows[2:]]
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_catalog_is_a_usage_error(invoke: Callable[..., Any]) -> None:
    result = invoke("list", "students")
    assert result.status == 2
    assert all(catalog in result.err for catalog in ("methods", "networks", "datasets"))
