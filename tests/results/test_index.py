import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdbench.matrix.recipe import Recipe
from kdbench.results import ExcludedCell, IncompatibleCell, IndexCell, MatrixIndex, Training

NAMES = st.text(st.characters(categories=("L", "N", "P", "S")), max_size=5)
IDS = st.dictionaries(st.integers(0, 9).map(str), st.sampled_from(["a", "b", "c"]), max_size=3)
VALUES = st.floats(allow_nan=False, allow_infinity=False) | st.booleans() | NAMES | st.lists(st.integers())
CELLS = st.builds(
    IndexCell,
    st.sampled_from(["teacher", "scratch", "method"]),
    *[NAMES] * 5,
    st.dictionaries(NAMES, VALUES, max_size=2),
    IDS,
)
IMPOSSIBLE = st.builds(IncompatibleCell, *[NAMES] * 5, st.integers(0, 9))
EXCLUDED = st.builds(ExcludedCell, *[NAMES] * 4, st.lists(st.integers(0, 9)).map(tuple), NAMES)
INDEXES = st.builds(
    MatrixIndex,
    *[NAMES] * 3,
    st.floats(0, 0.9),
    st.booleans(),
    st.lists(CELLS, max_size=3).map(tuple),
    st.lists(IMPOSSIBLE, max_size=2).map(tuple),
    st.lists(EXCLUDED, max_size=2).map(tuple),
)


@given(INDEXES)
def test_an_index_is_the_same_after_a_round_trip(index: MatrixIndex) -> None:
    assert MatrixIndex.from_json(json.loads(json.dumps(index.to_json()))) == index


@given(INDEXES)
def test_run_ids_have_no_duplicates(index: MatrixIndex) -> None:
    listed = [run for cell in index.cells for run in cell.runs.values()]
    assert sorted(index.run_ids) == sorted(set(listed))
    assert [listed.index(run) for run in index.run_ids] == sorted(listed.index(run) for run in index.run_ids)


def test_a_run_is_described_by_its_first_cell() -> None:
    cells = [IndexCell("method", label, "d", "t", "s", "vanilla", {}, {"1": "3f2a90bc5d6e7f80"}) for label in "ab"]
    index = MatrixIndex("m", "m.toml", "", 0.1, False, tuple(cells), needed=("0123456789abcdef",))
    assert index.labels("3f2a90bc5d6e7f80") == ("a", "b")
    assert index.describe_run("3f2a90bc5d6e7f80") == "a, seed 1 (3f2a90bc)"
    assert index.describe_run("0123456789abcdef") == "needed by other runs (01234567)"


@given(INDEXES)
def test_run_ids_include_needed_runs(index: MatrixIndex) -> None:
    wider = replace(index, needed=("generation", *index.run_ids))
    assert wider.run_ids == (*index.run_ids, "generation")
    assert MatrixIndex.from_json(json.loads(json.dumps(wider.to_json()))) == wider


RECIPE = Recipe().model_dump(mode="json")
CELL = IndexCell("method", "a", "d", "t", "s", "vanilla", {}, {"1": "3f2a90bc5d6e7f80"}, training="x")
INTACT = MatrixIndex("m", "m.toml", "", 0.1, False, (CELL,), trainings={"x": Training(RECIPE, 9, 1, 10, 10, 1)})


@pytest.mark.parametrize(
    "path",
    [
        *("cells.0.label", "cells.0.dataset", "cells.0.runs", "cells.0.runs.1", "cells.0.teachers", "seeds", "needed"),
        *("trainings.x.recipe", "trainings.x.recipe.monitor", "trainings.x.test_images", "trainings.x.steps"),
        "validation",
    ],
)
@pytest.mark.parametrize("value", ["a\x1b[31m\n", "../../x", "a\0", 2**70, -1, [[]], {"x": "../y"}, {"1": "a/b"}])
def test_other_values_are_refused(path: str, value: object) -> None:
    data = json.loads(json.dumps(INTACT.to_json()))
    assert MatrixIndex.from_json(data) == INTACT
    *keys, last = path.split(".")
    part: Any = data
    for key in keys:
        part = part[int(key)] if isinstance(part, list) else part[key]
    part[last] = value
    if path in ("cells.0.label", "cells.0.dataset") and value == "../../x":
        assert MatrixIndex.from_json(data).cells[0] != CELL  # never a path
        return
    with pytest.raises(ValueError, match=r".+"):
        MatrixIndex.from_json(data)


def test_a_recipe_without_a_key_is_refused() -> None:
    data = INTACT.to_json()
    data["trainings"]["x"]["recipe"] = {key: value for key, value in RECIPE.items() if key != "monitor"}
    with pytest.raises(ValueError, match="a recipe is incomplete"):
        MatrixIndex.from_json(data)
