"""A small version of benchmarks/significance.py: error, power and coverage on simulated tables."""

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from kdbench.analysis.comparison import exclude

TABLES, TEST_IMAGES = 600, 2000
MOST_ERRORS = 0.075  # of 600 tables: 5 % and 2.8 standard errors


@pytest.fixture(scope="module")
def simulation() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "significance.py"
    spec = importlib.util.spec_from_file_location("significance", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("methods", "seeds"), [(5, 5), (10, 5), (20, 5), (10, 10)])
def test_the_family_wise_error_is_controlled_and_that_of_other_procedures_is_not(
    simulation: ModuleType, methods: int, seeds: int
) -> None:
    found = simulation.measure(TABLES, TEST_IMAGES, methods, seeds)
    for row in ("error", "error (hard)"):
        assert found[row]["kdbench"] < MOST_ERRORS
        assert found[row]["uncorrected"] > 0.15
        assert found[row]["with the best"] > 0.1
    assert found["error (hard)"]["Tukey"] > MOST_ERRORS
    assert found["power"]["kdbench"] > found["power"]["Holm"] + 0.1


def test_the_error_is_controlled_if_only_some_methods_are_the_best(simulation: ModuleType) -> None:
    for lower in (0.002, 0.005, 0.02):
        for profile in (None, (1.0, 3.0), simulation.HARD):
            scores = simulation.simulate(TABLES, TEST_IMAGES, 10, 5, profile)
            scores[..., 6:] -= lower
            assert exclude(scores, TEST_IMAGES)[:, :6].any(axis=1).mean() < MOST_ERRORS


def test_the_error_is_controlled_with_heavy_tails_and_unequal_seed_effects() -> None:
    random = np.random.default_rng(0)
    noise = random.standard_t(4, (TABLES, 5, 8))
    effects = random.standard_normal((TABLES, 5, 1)) * np.exp(0.5 * random.standard_normal((TABLES, 1, 8)))
    for scores in (noise, 2 * effects + random.standard_normal((TABLES, 5, 8))):
        assert exclude(0.9 + scores / 200, 10_000).any(axis=1).mean() < MOST_ERRORS


def test_intervals_cover_and_the_stated_resolution_is_seen_with_80_percent_power(simulation: ModuleType) -> None:
    assert 0.93 < simulation.coverage(1000, TEST_IMAGES, 5, 5) < 0.97
    for methods, seeds in ((5, 5), (20, 5), (5, 10)):
        assert 0.75 < simulation.resolution(TABLES, TEST_IMAGES, methods, seeds)[1] < 0.88
