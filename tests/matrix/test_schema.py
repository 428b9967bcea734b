from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from kdbench.matrix import MatrixSpec
from kdbench.matrix.schema import Exclude, NetworkTable, Place, Selector

PLACE = Place("digits", "large", "small", ("HKD", "vanilla"))


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
def test_a_selector_means_the_cells_that_agree_in_every_key(keys: dict[str, Any], matches: bool) -> None:
    assert Selector.model_validate(keys).matches(PLACE) is matches
    assert Exclude.model_validate(keys | {"why": "broken"}).matches(PLACE) is matches


def test_a_single_name_or_seed_stands_for_a_list() -> None:
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
