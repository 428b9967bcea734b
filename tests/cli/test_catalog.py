"""`list`."""

from collections.abc import Callable
from typing import Any

import pytest

from kdbench import data, models
from kdbench.methods import METHODS


def columns(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in text.splitlines() if line.strip()]


def squeezed(text: str) -> str:
    return "".join(text.split())


def test_every_method_is_listed_in_the_order_of_the_table_of_contents(say: Callable[..., Any]) -> None:
    said = say("list", "methods")
    assert said.status == 0
    listed = [row[0] for row in columns(said.out) if row[0] in METHODS]
    assert listed == list(METHODS)


def test_a_methods_hyperparameters_are_listed(say: Callable[..., Any]) -> None:
    rows = columns(say("list", "methods").out)
    place = next(place for place, row in enumerate(rows) if row[0] == "vanilla")
    text = squeezed(" ".join(cell for row in rows[place : place + 4] for cell in row))
    for part in ("response", "alpha", "floatin[0,1]", "0.9", "0.05to0.95", "temperature", "float>0", "1to20,log"):
        assert part in text


def test_a_method_without_hyperparameters_is_listed(say: Callable[..., Any]) -> None:
    row = next(row for row in columns(say("list", "methods").out) if row[0] == "dml")
    assert row[:6] == ["dml", "online", "·", "·", "·", "·"]


def test_every_family_of_networks_is_listed(say: Callable[..., Any]) -> None:
    text = squeezed(say("list", "networks").out)
    for family in models.FAMILIES:
        assert squeezed(family.examples[0]) in text


def test_every_kind_of_data_is_listed_with_its_options(say: Callable[..., Any]) -> None:
    rows = columns(say("list", "datasets").out)
    assert [row[0] for row in rows if row[0] in data.DATASETS] == list(data.DATASETS)
    npz = next(row for row in rows if row[0] == "npz")
    assert any(cell.startswith("root, samples") for cell in npz)


def test_what_cannot_be_listed_is_a_wrong_call(say: Callable[..., Any]) -> None:
    said = say("list", "students")
    assert said.status == 2
    assert all(what in said.err for what in ("methods", "networks", "datasets"))


@pytest.mark.parametrize("what", ["networks", "datasets"])
def test_lists_write_nothing(say: Callable[..., Any], tmp_path: Any, what: str) -> None:
    say("list", what)
    assert list(tmp_path.iterdir()) == []
