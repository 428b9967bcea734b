from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdbench.matrix.merge import merge_tables

SGD = {"name": "sgd", "lr": 0.1, "momentum": 0.9}


@pytest.mark.parametrize(
    ("base", "top", "merged"),
    [
        ({"a": {"x": 1, "y": 1}}, {"a": {"y": 2, "z": 3}}, {"a": {"x": 1, "y": 2, "z": 3}}),
        ({"a": {"b": {"c": 1, "d": 1}}}, {"a": {"b": {"d": 2}}}, {"a": {"b": {"c": 1, "d": 2}}}),
        ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
        ({"a": [{"x": 1}]}, {"a": [{"y": 1}]}, {"a": [{"y": 1}]}),
        ({"a": {"x": 1}}, {"a": 3}, {"a": 3}),
        ({"a": 3}, {"a": {"x": 1}}, {"a": {"x": 1}}),
        ({"o": SGD}, {"o": {"lr": 0.2}}, {"o": SGD | {"lr": 0.2}}),
        ({"o": SGD}, {"o": {"name": "sgd", "lr": 0.2}}, {"o": SGD | {"lr": 0.2}}),
        ({"o": SGD}, {"o": {"name": "adam"}}, {"o": {"name": "adam"}}),
        ({"o": SGD}, {"o": "adam"}, {"o": "adam"}),
        ({"o": "sgd"}, {"o": {"lr": 0.2}}, {"o": {"name": "sgd", "lr": 0.2}}),
        ({"o": "sgd"}, {"o": {"name": "adam"}}, {"o": {"name": "adam"}}),
    ],
)
def test_tables_are_merged_and_other_values_replaced(
    base: dict[str, Any], top: dict[str, Any], merged: dict[str, Any]
) -> None:
    assert merge_tables(base, top) == merged


TABLES = st.recursive(
    st.integers() | st.lists(st.integers(), max_size=2),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
).filter(lambda value: isinstance(value, dict))


@given(TABLES)
def test_an_empty_table_changes_nothing(table: dict[str, Any]) -> None:
    assert merge_tables(table, {}) == merge_tables({}, table) == merge_tables(table, table) == table


@given(TABLES, TABLES)
def test_the_top_table_wins_and_neither_is_changed(base: dict[str, Any], top: dict[str, Any]) -> None:
    before = repr((base, top))
    merged = merge_tables(base, top)
    assert repr((base, top)) == before
    assert list(merged) == [*base, *(key for key in top if key not in base)]
    assert merge_tables(merged, top) == merged
