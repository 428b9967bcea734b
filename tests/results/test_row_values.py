"""The types and ranges of a result's values."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from kdbench.matrix import RunSpec
from kdbench.results import Store
from kdbench.results.columns import COLUMNS, DERIVED
from kdbench.results.integrity import result_corruption

DONE = {"run_id": "0123", "status": "done"}


def corruption(result: Mapping[str, Any]) -> str | None:
    return result_corruption({**DONE, **result}, "0123")


@pytest.mark.parametrize("name", [name for name in COLUMNS if name not in DERIVED])
@pytest.mark.parametrize("value", [[], [0.5], {}, {"a": 1}, math.nan, math.inf, -1, 2**70, "\x1b[31m"])
def test_a_value_of_another_type_or_range_is_corrupted(name: str, value: object) -> None:
    found = corruption({"row": {name: value}}) or ""
    assert found.startswith(f"{name} must be ")
    assert found.endswith(f", got {value!r}")


@pytest.mark.parametrize(
    ("name", "value", "is_valid"),
    [
        *[("test_accuracy", value, True) for value in (0, 0.5, 1, 1 + 1e-9)],
        *[("test_accuracy", value, False) for value in (1.1, "0.5", True, None, 2**70)],
        *[("test_accuracy_best_test", value, value == 0.5) for value in (0.5, 1.1, "0.5")],
        *[("val_nll_best", value, value == 7.5) for value in (7.5, -0.1, None)],
        *[("epochs_run", value, value == 2**63 - 1) for value in (2**63 - 1, 2**63, 1.0, True, "1")],
        *[("compile", value, value is True) for value in (True, 1, "true")],
        *[("host", value, value == "a") for value in ("a", "a\nb", "\0", 1)],
        *[("teacher_agreement", value, True) for value in (None, 0.5)],
        *[("of a later version", value, value == 1.5) for value in (1.5, [], {})],
        *[
            ("seed", 1, False),
            ("status", "done", False),
            ("param.alpha", 0.5, False),
            ("inference_ms", 0.5, False),
            ("seed", None, False),
        ],
    ],
)
def test_values(name: str, value: object, is_valid: bool) -> None:
    assert (corruption({"row": {name: value}}) is None) == is_valid


def test_scores_of_a_failed_run_may_be_empty() -> None:
    assert corruption({"status": "failed", "row": {"val_accuracy": None}, "error": "NaN"}) is None


@pytest.mark.parametrize(
    ("result", "why"),
    [
        ({"deployed": {"peer1": []}}, "the scores of 'peer1' in result.json are not a dict"),
        ({"deployed": {"peer1": {"accuracy": 0.5}}}, "'accuracy' in result.json is no score"),
        ({"deployed": {"peer1": {"test_accuracy": None}}}, "test_accuracy is empty"),
        ({"deployed": {"peer1": {"test_accuracy": "x"}}}, "test_accuracy must be a number from 0 to 1, got 'x'"),
        ({"error": ["a"]}, "'error' in result.json is not a str"),
        *[
            ({"architecture": key}, f"'architecture' in result.json must be letters and digits, got {key!r}")
            for key in ("..", "../x", "a/b", "a\0b", "", "x" * 65)
        ],
    ],
)
def test_other_parts_of_a_result(result: dict[str, Any], why: str) -> None:
    assert corruption(result) == why


def test_a_run_that_is_done_has_the_scores_of_its_split(
    store: Store, teacher: RunSpec, finished: Callable[..., None]
) -> None:
    finished(store, teacher)
    result = store.result(teacher.id) or {}
    for name in ("test_accuracy", "val_accuracy"):
        row = {key: value for key, value in result["row"].items() if key != name}
        store.write_result(teacher.id, {**result, "row": row})
        assert store.corruption(teacher.id) == f"result.json has no {name}"


def test_text_is_written_as_one_line(store: Store, teacher: RunSpec, finished: Callable[..., None]) -> None:
    finished(store, teacher, host="a\nb\x1b")
    assert store.corruption(teacher.id) is None
    assert (store.result(teacher.id) or {})["row"]["host"] == "a\\nb\\x1b"
