from collections.abc import Callable
from typing import Any, get_args

import pytest
from pydantic import ValidationError

from kdbench.errors import MatrixError
from kdbench.matrix import MatrixSpec
from kdbench.matrix.recipe import Recipe, TomlTable
from kdbench.matrix.schema import CellKey, Exclude, NetworkTable, Selector

KEY = CellKey("digits", "large", "small", ("HKD", "vanilla"))


@pytest.mark.parametrize(
    ("keys", "matches"),
    [
        ({}, True),
        ({"dataset": "digits"}, True),
        ({"dataset": ["letters", "digits"]}, True),
        ({"dataset": "letters"}, False),
        ({"teacher": "large", "student": "small"}, True),
        ({"teacher": "large", "student": "tiny"}, False),
        ({"method": "HKD"}, True),
        ({"method": "vanilla"}, True),
        ({"method": ["scratch", "triplet"]}, False),
        ({"seed": 3}, True),
    ],
)
def test_a_selector_matches_cells_that_agree_with_every_key(keys: dict[str, Any], matches: bool) -> None:
    assert Selector.model_validate(keys).matches(KEY) is matches
    assert Exclude.model_validate(keys | {"why": "broken"}).matches(KEY) is matches


def test_a_single_name_or_seed_is_a_list() -> None:
    found = Selector.model_validate({"dataset": "digits", "seed": 3})
    assert (found.dataset, found.seed) == (("digits",), (3,))


def test_further_keys_are_options() -> None:
    table = NetworkTable.model_validate({"factory": "a:b", "depth": 3, "wide": True})
    assert (table.factory, table.options) == ("a:b", {"depth": 3, "wide": True})


def test_a_matrix_cannot_be_changed(matrix: Callable[..., MatrixSpec]) -> None:
    made = matrix()
    with pytest.raises(ValidationError, match="frozen"):
        made.seeds = (1,)
    assert made.seeds == (0,)


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ("teacher", "must not have the label 'teacher', which is that of a baseline"),
        ("teacher of x", "must not have the label 'teacher of x', which is that of a baseline"),
        ("student from scratch", "must not have the label 'student from scratch', which is that of a baseline"),
        ("scratch", "must not have the label 'scratch' for another method, got 'vanilla'"),
    ],
)
def test_labels_of_the_baselines_are_refused(matrix: Callable[..., MatrixSpec], label: str, message: str) -> None:
    with pytest.raises(MatrixError) as caught:
        matrix(methods={label: {"method": "vanilla"}})
    assert str(caught.value).startswith(f"m.toml: methods: {message}")


def _tables(annotation: object) -> set[type[TomlTable]]:
    """The tables that a type names, and those within them."""
    if isinstance(annotation, type) and issubclass(annotation, TomlTable):
        inner = [_tables(field.annotation) for field in annotation.model_fields.values()]
        return {annotation}.union(*inner)
    return set().union(*map(_tables, get_args(annotation)))


def test_every_table_and_every_key_is_described() -> None:
    tables = _tables(MatrixSpec) | _tables(Recipe)
    assert len(tables) == 24
    for table in tables:
        assert "\n" not in table.__doc__
        for key, field in table.model_fields.items():
            assert field.description, f"{table.__name__}.{key}"
