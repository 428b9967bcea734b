import math
from collections.abc import Callable
from datetime import UTC, date, datetime, time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdbench.errors import MatrixError
from kdbench.matrix import MatrixSpec, parse
from kdbench.matrix.recipe import Recipe
from kdbench.matrix.validation import MAX_DEPTH, check_plain, validate

PLAIN = {"name": "m", "datasets": ["digits"], "pairs": [{"teacher": "large", "student": "small"}]}
OVERRIDE = {"when": {}, "set": {"recipe": {}}}
DATED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

WRONG: list[tuple[dict[str, Any], str]] = [
    ({"seed": [1]}, "seed: unknown key; did you mean 'seeds'?"),
    ({"protocol": {"validaton": 0.1}}, "protocol.validaton: unknown key; did you mean 'validation'?"),
    ({"run": {"worker": 1}}, "run.worker: unknown key; did you mean 'workers'?"),
    (
        {"run": {"xyz": 1}},
        "run.xyz: unknown key; valid: checkpoint_minutes, compile, cuda_graphs, devices, runs_per_device, "
        "teacher_cache_gb, threads, time_limit, workers",
    ),
    ({"run": {"teacher_cache_gb": -1}}, "run.teacher_cache_gb: must be greater than or equal to 0, got -1"),
    ({"run": {"teacher_cache_gb": 1e300}}, "run.teacher_cache_gb: must be less than or equal to 1000000, got 1e+300"),
    ({"pairs": [{"teacher": "a", "studnt": "b"}]}, "pairs[0].studnt: unknown key; did you mean 'student'?"),
    ({"exclude": [{"metod": "x"}]}, "exclude[0].metod: unknown key; did you mean 'method'?"),
    ({"override": [OVERRIDE | {"wen": 1}]}, "override[0].wen: unknown key; did you mean 'when'?"),
    (
        {"override": [OVERRIDE, OVERRIDE | {"when": {"studnt": "x"}}]},
        "override[1].when.studnt: unknown key; did you mean 'student'?",
    ),
    ({"pairs": [{"teacher": "a"}]}, "pairs[0].student: this key is required"),
    ({"override": [{"when": {}}]}, "override[0].set: this key is required"),
    (
        {"network": {"mine": {}}},
        "network.mine: must have either 'factory' (your own network) or 'architecture' (a known network), got {}",
    ),
    (
        {"network": {"mine": {"factory": "a:b", "architecture": "large"}}},
        "network.mine: must have either 'factory' (your own network) or 'architecture' (a known network), "
        "got {'factory': 'a:b', 'architecture': 'large'}",
    ),
    (
        {"network": {"mine": {"architecture": "large", "weights": "w", "pretrained": True}}},
        "network.mine: must have either 'weights' or 'pretrained', not both, "
        "got {'architecture': 'large', 'weights': 'w', 'pretrained': True}",
    ),
    (
        {"network": {"mine": {"architecture": "large", "weigths": "w"}}},
        "network.mine.weigths: unknown key; did you mean 'weights'?",
    ),
    (
        {"network": {"mine": {"factory": "a:b", "weights": ""}}},
        "network.mine.weights: must have at least 1 character, got ''",
    ),
    ({"name": 3}, "name: must be a valid string, got 3"),
    ({"name": "x" * 81}, f"name: must have at most 80 characters, got '{'x' * 76}..."),
    ({"seeds": 1}, "seeds: must be a list, got 1"),
    ({"seeds": [1.0]}, "seeds[0]: must be a valid integer, got 1.0"),
    ({"seeds": [True]}, "seeds[0]: must be a valid integer, got True"),
    ({"seeds": ["1"]}, "seeds[0]: must be a valid integer, got '1'"),
    ({"seeds": [0, -1]}, "seeds[1]: must be greater than or equal to 0, got -1"),
    ({"seeds": [2**31]}, "seeds[0]: must be less than 2147483648, got 2147483648"),
    ({"seeds": []}, "seeds: must have at least 1 value, got []"),
    ({"datasets": []}, "datasets: must have at least 1 value, got []"),
    ({"datasets": [""]}, "datasets[0]: must have at least 1 character, got ''"),
    ({"pairs": []}, "pairs: must have at least 1 value, got []"),
    ({"pairs": ["large"]}, "pairs[0]: must be a table, got 'large'"),
    ({"pairs": {"teacher": "a"}}, "pairs: must be a list, got {'teacher': 'a'}"),
    ({"seeds": [3, 1, 3]}, "seeds: must not repeat a value, but [2] equals [0], got [3, 1, 3]"),
    ({"datasets": ["a", "a"]}, "datasets: must not repeat a value, but [1] equals [0], got ['a', 'a']"),
    ({"protocol": 3}, "protocol: must be a table, got 3"),
    ({"protocol": {"validation": "0.1"}}, "protocol.validation: must be a valid number, got '0.1'"),
    ({"protocol": {"validation": 1}}, "protocol.validation: must be less than 1, got 1"),
    ({"protocol": {"track_test": 1}}, "protocol.track_test: must be a valid boolean, got 1"),
    ({"protocol": {"teacher_seed": "x"}}, "protocol.teacher_seed: must be a valid integer or 'paired', got 'x'"),
    ({"recipe": 3}, "recipe: must be a table, got 3"),
    ({"methods": {"vanilla": 3}}, "methods.vanilla: must be a table, got 3"),
    ({"methods": {"": {}}}, "methods.: must have at least 1 character, got ''"),
    ({"dataset": {"land": {"kind": 3}}}, "dataset.land.kind: must be a valid string, got 3"),
    ({"exclude": [{"method": []}]}, "exclude[0].method: must have at least 1 value, got []"),
    ({"exclude": [{"seed": [0, "x"]}]}, "exclude[0].seed[1]: must be a valid integer, got 'x'"),
    ({"override": [OVERRIDE | {"set": {}}]}, "override[0].set: must have at least 1 value, got {}"),
    (
        {"override": [OVERRIDE | {"set": {"recpe": {}}}]},
        "override[0].set: must have the keys 'recipe' and 'methods' only, not 'recpe', got {'recpe': {}}",
    ),
    (
        {"override": [OVERRIDE | {"when": {"seed": 1}}]},
        "override[0].when: must not select by 'seed': an override applies to all seeds of a cell, got {'seed': 1}",
    ),
    ({"run": {"devices": "gpu"}}, "run.devices: must be 'auto', 'cpu' or 'cuda', got 'gpu'"),
    ({"run": {"workers": 0}}, "run.workers: must be greater than or equal to 1, got 0"),
    ({"protocol": {"validation": math.nan}}, "protocol.validation: must be a finite number, got nan"),
    (
        {"methods": {"vanilla": {"alpha": [0.1, -math.inf]}}},
        "methods.vanilla.alpha[1]: must be a finite number, got -inf",
    ),
    ({"seeds": [2**63]}, "seeds[0]: must be an integer of at most 64 bits, got 65 bits"),
    ({"dataset": {"a": {"b": 16**5000}}}, "dataset.a.b: must be an integer of at most 64 bits, got 20002 bits"),
    (
        {"network": {"mine": {"factory": "a:b", "since": DATED}}},
        "network.mine.since: must be text, a number, true, false, a list or a table, "
        "got the datetime 2026-01-02 03:04:05+00:00",
    ),
    (
        {"methods": {"vanilla": {"alpha": time(1, 2)}}},
        "methods.vanilla.alpha: must be text, a number, true, false, a list or a table, got the time 01:02:00",
    ),
]


@pytest.mark.parametrize(("tables", "message"), WRONG, ids=[message for _, message in WRONG])
def test_one_clear_error(tables: dict[str, Any], message: str) -> None:
    with pytest.raises(MatrixError) as caught:
        parse({**PLAIN, **tables}, "m.toml")
    assert str(caught.value) == f"m.toml: {message}"


RECIPES: list[tuple[dict[str, Any], str]] = [
    ({"epoch": 3}, "recipe.epoch: unknown key; did you mean 'epochs'?"),
    ({"epochs": -1}, "recipe.epochs: must be greater than or equal to 0, got -1"),
    ({"grad_clip_norm": 0}, "recipe.grad_clip_norm: must be greater than 0, got 0"),
    ({"optimizer": "sdg"}, "recipe.optimizer: unknown name 'sdg'; did you mean 'sgd'?"),
    ({"augment": [{"padding": 2}]}, "recipe.augment[0]: must have a key 'name', got {'padding': 2}"),
    (
        {"optimizer": {"betas": [0.9, 0.99]}},
        "recipe.optimizer.betas: unknown key; valid: lr, momentum, name, nesterov, weight_decay",
    ),
    ({"optimizer": 3}, "recipe.optimizer: must be a table or a name, got 3"),
    (
        {"optimizer": {"name": "adam", "momentum": 0.9}},
        "recipe.optimizer.momentum: unknown key; valid: betas, lr, name, weight_decay",
    ),
    ({"optimizer": {"name": "sgd", "lr": "x"}}, "recipe.optimizer.lr: must be a valid number, got 'x'"),
    ({"optimizer": {"name": "adam", "betas": [0.9]}}, "recipe.optimizer.betas[1]: this key is required"),
    (
        {"optimizer": {"name": "adam", "betas": [0.9, 0.9, 0.9]}},
        "recipe.optimizer.betas: must have at most 2 items after validation, not 3, got [0.9, 0.9, 0.9]",
    ),
    ({"schedule": {"name": "cosin"}}, "recipe.schedule: unknown name 'cosin'; did you mean 'cosine'?"),
    (
        {"schedule": {"name": "multistep", "milestones": [60, "x"]}},
        "recipe.schedule.milestones[1]: must be a valid number, got 'x'",
    ),
    ({"augment": ["crop", "flop"]}, "recipe.augment[1]: unknown name 'flop'; did you mean 'flip'?"),
    ({"augment": [{"name": "crop", "pad": 4}]}, "recipe.augment[0].pad: unknown key; did you mean 'padding'?"),
    ({"augment": "crop"}, "recipe.augment: must be a list, got 'crop'"),
    ({"precision": "fp16"}, "recipe.precision: must be 'auto', 'bf16', 'fp32' or 'tf32', got 'fp16'"),
    ({"early_stopping": 5}, "recipe.early_stopping: must be a table, got 5"),
]


@pytest.mark.parametrize(("raw", "message"), RECIPES, ids=[message for _, message in RECIPES])
def test_one_clear_error_in_a_recipe(raw: dict[str, Any], message: str) -> None:
    with pytest.raises(MatrixError) as caught:
        validate(Recipe, raw, "m.toml", ("recipe",))
    assert str(caught.value) == f"m.toml: {message}"


@pytest.mark.parametrize("value", [-(2**63), 2**63 - 1, 0.0, -1e308, "", True, None, [], {}, (1, 2)])
def test_plain_values(value: object) -> None:
    check_plain({"key": [value]}, "m.toml")
    with pytest.raises(MatrixError, match=r"^m\.toml: key\[1\]: must be a finite number, got inf$"):
        check_plain({"key": [value, math.inf]}, "m.toml")


def nested(depth: int, wrap: Callable[[object], object]) -> object:
    value: object = 1
    for _ in range(depth):
        value = wrap(value)
    return value


@pytest.mark.parametrize("wrap", [lambda inner: [inner], lambda inner: {"k": inner}])
def test_the_depth_of_tables(wrap: Callable[[object], object]) -> None:
    check_plain(nested(MAX_DEPTH, wrap), "m.toml")
    with pytest.raises(MatrixError, match=r"\.\.\.: tables and lists must not be nested deeper than 32 levels$"):
        check_plain(nested(MAX_DEPTH + 1, wrap), "m.toml")
    with pytest.raises(MatrixError, match="deeper than 32 levels"):
        check_plain(nested(50_000, wrap), "m.toml")


LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=2**64, max_value=2**80)
    | st.floats()
    | st.text(max_size=6)
    | st.sampled_from(
        ["digits", "large", "vanilla", "sgd", "cosine", "crop", "paired", date(2026, 1, 1), time(1), DATED]
    )
)
KEYS = st.text(max_size=4) | st.sampled_from(
    ["name", "method", "zip", "seed", "recipe", "methods", "teacher", "student", "kind", "root", "when", "set"]
)
NESTED = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=10
)
TOP = ["name", "seeds", "datasets", "pairs", "recipe", "protocol", "methods", "dataset", "network", "exclude"]


@given(st.dictionaries(st.sampled_from([*TOP, "override", "run"]) | st.text(max_size=6), NESTED, max_size=3))
def test_any_data_give_a_matrix_or_a_matrix_error(tables: dict[str, Any]) -> None:
    found = outcome(tables)
    assert found.startswith("m.toml: ") or set(tables) < set(MatrixSpec.model_fields)


def outcome(tables: dict[str, Any]) -> str:
    """The error's text, or nothing; any other exception passes through."""
    try:
        parse({**PLAIN, **tables}, "m.toml")
    except MatrixError as error:
        return str(error)
    return ""
