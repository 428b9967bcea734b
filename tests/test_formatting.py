"""Numbers and values as people read them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdbench.formatting import count_of, format_bytes, format_configuration, format_count, format_duration, format_value


@pytest.mark.parametrize(
    ("count", "text"),
    [
        *((0, "0"), (512, "512"), (999, "999"), (3_800, "3.8 k"), (21_300, "21.3 k")),
        *((999_499, "999 k"), (999_500, "1 M"), (2_260_000, "2.26 M"), (1_500_000_000, "1.5 B")),
    ],
)
def test_counts(count: int, text: str) -> None:
    assert format_count(count) == text


@given(st.integers(0, 999_000_000_000))
def test_a_count_is_within_half_a_percent(count: int) -> None:
    number, _, letter = format_count(count).partition(" ")
    assert "e" not in number
    assert float(number) * {"": 1, "k": 1e3, "M": 1e6, "B": 1e9}[letter] == pytest.approx(count, rel=0.0051, abs=0.5)


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (1_000, "1.0 kB"), (3_500_000, "3.5 MB"), (10**12, "1000.0 GB")],
)
def test_bytes(size: int, text: str) -> None:
    assert format_bytes(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.6, "1 min 00 s"), (61, "1 min 01 s"), (3_599.9, "1 h 00 min"), (7_500, "2 h 05 min")],
)
def test_durations(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *((True, "true"), (None, "none"), (4.0, "4"), (1e-05, "1e-05"), (3, "3"), ("joint", "joint")),
        *(([1, 2.50], "[1, 2.5]"), ((0.1, False), "[0.1, false]")),
    ],
)
def test_values(value: object, text: str) -> None:
    assert format_value(value) == text


@pytest.mark.parametrize(
    ("hyperparameters", "text"),
    [
        ({}, ""),
        ({"alpha": 0.1, "temperature": 4.0}, "alpha = 0.1, temperature = 4"),
        ({"flag": True, "other": None}, "flag = true, other = none"),
        ({"layers": [1, 2.50], "mode": "joint"}, "layers = [1, 2.5], mode = joint"),
        ({"weight": 1e-05}, "weight = 1e-05"),
    ],
)
def test_configurations(hyperparameters: dict[str, object], text: str) -> None:
    assert format_configuration(hyperparameters) == text


@pytest.mark.parametrize(("count", "text"), [(0, "0 runs"), (1, "1 run"), (12, "12 runs")])
def test_a_noun_follows_its_number(count: int, text: str) -> None:
    assert count_of(count, "run") == text
