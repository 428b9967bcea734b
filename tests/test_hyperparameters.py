"""What a constructor declares, and which values it accepts."""

import math
from typing import Annotated, Any, Literal

import pytest
from annotated_types import Ge, Gt, Interval, Le, Lt, MinLen
from hypothesis import given
from hypothesis import strategies as st

from kdbench.errors import MethodError
from kdbench.hyperparameters import (
    DefaultBy,
    Hyperparameter,
    Tune,
    When,
    declared,
    defaults,
    identity_fields,
    resolve,
    roles,
)
from kdbench.matrix.identity import Since

LAYERS = [1, 2]  # a default that cannot be hashed
SHARE = Annotated[float, Ge(0), Le(1), Tune(0.05, 0.95)]


class Example:
    """A class as a method's author writes it."""

    def __init__(
        self,
        student: object,
        teacher: object = None,
        *,
        alpha: SHARE = 0.9,
        steps: Annotated[int, Ge(1)] = 10,
        layers: list[Annotated[int, Ge(0)]] = LAYERS,
        sizes: tuple[int, ...] = (1,),
        mode: Literal["mean", "sum"] = "mean",
        grad_clip_norm: Annotated[float, Gt(0)] | None = None,
        flag: bool = False,
        gamma: Annotated[float, Gt(0)],
    ) -> None:
        pass


def test_keyword_only_arguments_are_declared_in_their_order():
    found = declared(Example)
    assert list(found) == ["alpha", "steps", "layers", "sizes", "mode", "grad_clip_norm", "flag", "gamma"]
    assert found["alpha"] == Hyperparameter("alpha", SHARE, 0.9)
    assert found["alpha"].tune == Tune(0.05, 0.95)
    assert found["steps"].tune is None
    assert [name for name, parameter in found.items() if parameter.is_required] == ["gamma"]


def test_a_function_declares_too():
    def load(root, *, samples: int = 3): ...

    assert {name: p.default for name, p in declared(load).items()} == {"samples": 3}


def test_positional_arguments_are_roles():
    assert roles(Example) == {"student": True, "teacher": False}


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        (float, "float"),
        (SHARE, "float in [0, 1]"),
        (Annotated[float, Gt(0), Lt(0.5)], "float in (0, 0.5)"),
        (Annotated[float, Ge(0), Lt(1)], "float in [0, 1)"),
        (Annotated[float, Lt(1), Gt(0)], "float in (0, 1)"),
        (Annotated[float, Gt(0), Tune(1, 20, log=True)], "float > 0"),
        (Annotated[int, Ge(1)], "int >= 1"),
        (Annotated[int, Le(9)], "int <= 9"),
        (Annotated[int, Lt(9)], "int < 9"),
        (Annotated[float, Interval(gt=0, le=2)], "float in (0, 2]"),
        (Annotated[float, Tune(0, 1)], "float"),
        (bool, "bool"),
        (Literal["mean", "sum"], "'mean' | 'sum'"),
        (Annotated[float, Gt(0)] | None, "float > 0 | none"),
        (Literal["middle"] | Annotated[int, Ge(0)], "'middle' | int >= 0"),
        (list[Annotated[int, Ge(0)]], "list[int >= 0]"),
        (Annotated[list[int], MinLen(1)], "list[int]"),
        (tuple[int, ...], "tuple[int, ...]"),
        (Any, "Any"),
    ],
)
def test_describe_returns_type_and_bounds(annotation, text):
    assert Hyperparameter("x", annotation, 0).describe() == text


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("alpha", 0, 0.0),
        ("alpha", 1.0, 1.0),
        ("steps", 1, 1),
        ("layers", [0, 3], [0, 3]),
        ("sizes", [4, 5], (4, 5)),
        ("mode", "sum", "sum"),
        ("grad_clip_norm", None, None),
        ("grad_clip_norm", 2.5, 2.5),
        ("flag", True, True),
    ],
)
def test_a_value_that_keeps_the_rule_gets_the_declared_type(name, value, expected):
    found = declared(Example)[name].validate(value)
    assert found == expected
    assert type(found) is type(expected)


def test_a_tuple_with_a_rule_of_its_own_takes_a_list_too():
    sizes = Hyperparameter("sizes", Annotated[tuple[int, ...], MinLen(2)], (1, 2))
    assert sizes.validate([4, 5]) == (4, 5)
    with pytest.raises(MethodError, match=r"^sizes Tuple should have at least 2 items.*, got \[4\]"):
        sizes.validate([4])


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("alpha", 1.5, "alpha must be less than or equal to 1, got 1.5; declared as float in [0, 1]"),
        ("alpha", -0.1, "alpha must be greater than or equal to 0, got -0.1; declared as float in [0, 1]"),
        ("alpha", math.nan, "alpha must be a finite number, got nan; declared as float in [0, 1]"),
        ("gamma", math.inf, "gamma must be a finite number, got inf; declared as float > 0"),
        ("alpha", "0.5", "alpha must be a valid number, got '0.5'; declared as float in [0, 1]"),
        ("alpha", True, "alpha must be a valid number, got True; declared as float in [0, 1]"),
        ("steps", 2.0, "steps must be a valid integer, got 2.0; declared as int >= 1"),
        ("steps", True, "steps must be a valid integer, got True; declared as int >= 1"),
        ("steps", 0, "steps must be greater than or equal to 1, got 0; declared as int >= 1"),
        ("flag", 1, "flag must be a valid boolean, got 1; declared as bool"),
        ("layers", [1, -1], "layers must be greater than or equal to 0, got [1, -1]; declared as list[int >= 0]"),
        ("layers", 3, "layers must be a valid list, got 3; declared as list[int >= 0]"),
        ("mode", "max", "mode must be 'mean' or 'sum', got 'max'; declared as 'mean' | 'sum'"),
        ("grad_clip_norm", 0.0, "grad_clip_norm must be greater than 0, got 0.0; declared as float > 0 | none"),
        ("grad_clip_norm", "none", "grad_clip_norm must be a valid number, got 'none'; declared as float > 0 | none"),
    ],
)
def test_a_value_that_breaks_the_rule_is_refused(name, value, message):
    with pytest.raises(MethodError) as caught:
        declared(Example)[name].validate(value)
    assert str(caught.value) == message


@given(st.floats())
def test_a_share_is_accepted_exactly_from_0_to_1(value):
    share = declared(Example)["alpha"]
    if 0 <= value <= 1:
        assert share.validate(value) == value
    else:
        with pytest.raises(MethodError, match=r"^alpha must be "):
            share.validate(value)


def test_resolve_fills_in_the_defaults_and_keeps_the_declared_order():
    assert resolve(Example, {"gamma": 2, "alpha": 1}, "example") == {
        "alpha": 1.0,
        "steps": 10,
        "layers": [1, 2],
        "sizes": (1,),
        "mode": "mean",
        "grad_clip_norm": None,
        "flag": False,
        "gamma": 2.0,
    }
    assert list(resolve(Example, {"gamma": 2}, "example")) == list(declared(Example))


def test_resolve_refuses_an_unknown_name_with_the_nearest():
    with pytest.raises(MethodError, match=r"^'example' has no hyperparameter 'alhpa'; did you mean 'alpha'\?$"):
        resolve(Example, {"alhpa": 0.5, "gamma": 1}, "example")


def test_resolve_names_what_is_missing():
    with pytest.raises(MethodError, match=r"^'example' needs a value for gamma$"):
        resolve(Example, {"alpha": 0.5}, "example")


def test_a_method_without_hyperparameters_has_no_valid_name():
    class Bare:
        def __init__(self, student: object) -> None: ...

    assert declared(Bare) == {}
    with pytest.raises(MethodError, match=r"^'bare' has no hyperparameter 'alpha'; valid: none$"):
        resolve(Bare, {"alpha": 0.5}, "bare")


def test_what_was_added_later_is_no_part_of_the_identity_while_it_holds_its_default() -> None:
    def owner(*, old: float = 1.0, new: Annotated[float, Gt(0), Since("0.2")] = 2.0) -> None: ...

    assert identity_fields(owner, {"old": 1.0, "new": 2.0}) == {"old": 1.0}
    assert identity_fields(owner, {"old": 1.0, "new": 3.0}) == {"old": 1.0, "new": 3.0}


def staged(
    *,
    mode: Literal["joint", "two_stage", "auto"] = "joint",
    weight: Annotated[float, Gt(0), DefaultBy(mode={"two_stage": 0.5}), Since("0.2")] = 100.0,
    share: Annotated[float, Gt(0), Tune(0.1, 0.5), When(mode="two_stage")] = 0.25,
    schedule: Annotated[Literal["linear", "step"], When(mode="two_stage")] = "linear",
    steps: Annotated[int, Ge(1), When(mode="two_stage", schedule="step")] = 3,
) -> None:
    """Hyperparameters that depend on one another."""


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {"mode": "joint", "weight": 100.0}),
        ({"mode": "auto", "weight": 2}, {"mode": "auto", "weight": 2.0}),
        ({"mode": "two_stage"}, {"mode": "two_stage", "weight": 0.5, "share": 0.25, "schedule": "linear"}),
        (
            {"schedule": "step", "steps": 4, "weight": 1.0, "mode": "two_stage"},
            {"mode": "two_stage", "weight": 1.0, "share": 0.25, "schedule": "step", "steps": 4},
        ),
    ],
)
def test_resolve_returns_only_hyperparameters_that_count(given, expected):
    found = resolve(staged, given, "staged")
    assert found == expected
    assert list(found) == list(expected)


def test_resolve_rejects_a_hyperparameter_that_does_not_count():
    with pytest.raises(MethodError) as caught:
        resolve(staged, {"share": 0.3}, "staged")
    assert str(caught.value) == (
        "'staged' does not use share = 0.3 with mode = 'joint'; share is active only with mode = 'two_stage': remove "
        "share or set mode = 'two_stage'; to sweep over mode, write one label per value"
    )
    with pytest.raises(MethodError, match=r"with mode = 'two_stage' and schedule = 'linear'; steps is active only"):
        resolve(staged, {"mode": "two_stage", "steps": 2}, "staged")
    with pytest.raises(MethodError, match=r"does not use steps = 2 with mode = 'joint'; steps is active only with"):
        resolve(staged, {"steps": 2}, "staged")


def test_defaults_are_those_of_the_default_mode():
    assert defaults(staged) == {"mode": "joint", "weight": 100.0}
    assert "gamma" not in defaults(Example)


def test_the_identity_follows_the_default_of_the_mode():
    assert identity_fields(staged, resolve(staged, {}, "staged")) == {"mode": "joint"}
    assert "weight" not in identity_fields(staged, resolve(staged, {"mode": "two_stage"}, "staged"))
    assert identity_fields(staged, resolve(staged, {"mode": "two_stage", "weight": 100.0}, "staged"))["weight"] == 100.0


def test_the_last_search_range_holds():
    assert Hyperparameter("x", Annotated[SHARE, Tune(1, 2)], 0).tune == Tune(1, 2)


def test_a_condition_as_text():
    assert str(declared(staged)["steps"].when) == "mode = 'two_stage' and schedule = 'step'"
    assert declared(staged)["mode"].when is None


def undeclared(*, share: Annotated[float, When(mdoe="joint")] = 1.0, mode: Literal["joint"] = "joint") -> None: ...


def misspelled(*, mode: Literal["joint"] = "joint", share: Annotated[float, When(mode="jiont")] = 1.0) -> None: ...


def on_searched(*, a: Annotated[float, Tune(1, 2)] = 1.0, b: Annotated[float, When(a=1.0)] = 1.0) -> None: ...


def without_default(*, mode: Literal["joint"] = "joint", b: Annotated[float, When(mode="joint")]) -> None: ...


def bad_default(
    *, mode: Literal["joint"] = "joint", b: Annotated[float, Gt(0), DefaultBy(mode={"joint": -1.0})] = 1.0
) -> None: ...


@pytest.mark.parametrize(
    ("owner", "message"),
    [
        (undeclared, "undeclared: share depends on 'mdoe', which is not declared before it; valid: none"),
        (misspelled, "misspelled: mode must be 'joint', got 'jiont'; declared as 'joint'"),
        (on_searched, "on_searched: b depends on a, which has a search range; remove its Tune"),
        (without_default, "without_default: b is active only with mode = 'joint' and has no default; give it one"),
        (bad_default, "bad_default: b must be greater than 0, got -1.0; declared as float > 0"),
    ],
)
def test_a_condition_that_cannot_hold_is_refused(owner, message):
    with pytest.raises(MethodError) as caught:
        declared(owner)
    assert str(caught.value) == message
