"""Matrices trained in virtual time: every run finishes, close to a bound that no schedule can beat."""

import importlib
import statistics
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SLOTS = (1, 2, 4, 8)


@pytest.fixture
def schedule(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("schedule")


@pytest.mark.parametrize("slots", SLOTS)
def test_random_matrices_are_trained_to_the_end(schedule: ModuleType, slots: int) -> None:
    for seed, matrix in enumerate(schedule.random_matrices(6)):
        outcome = schedule.simulate(schedule.make_problem(matrix, seed), slots, seed)
        assert outcome.unfinished == 0
        assert 0 < outcome.busy <= 1 + 1e-9
        assert 0.97 < outcome.ratio < 1.5, matrix  # epochs are up to 3 % shorter or longer than the bound assumes


@pytest.mark.slow
@pytest.mark.parametrize(("slots", "goal"), [(2, 1.05), (4, 1.10), (8, 1.15)])
def test_typical_matrices_take_little_longer_than_the_bound(schedule: ModuleType, slots: int, goal: float) -> None:
    problems = [schedule.make_problem(matrix, seed) for seed, matrix in enumerate(schedule.TYPICAL)]
    ratios = [schedule.simulate(problem, slots, seed).ratio for seed, problem in enumerate(problems)]
    assert statistics.geometric_mean(ratios) <= goal
    assert max(ratios) <= 1.35


def test_giving_runs_away_is_not_slower(schedule: ModuleType) -> None:
    problem = schedule.make_problem(schedule.TYPICAL[1], 1)
    given, kept = (schedule.simulate(problem, 2, 1, gives_away=gives) for gives in (True, False))
    assert given.ratio <= kept.ratio


def test_the_bound_of_independent_runs_on_one_slot_is_their_work(schedule: ModuleType) -> None:
    problem = schedule.make_problem(schedule.Matrix("scratch", students=0, seeds=2), 0)
    costs = [problem.costs[run.id] for run in problem.runs]
    epochs = problem.runs[0].spec.recipe.epochs
    work = epochs * sum(cost.own for cost in costs)
    assert work < schedule.lower_bound(problem, 1) <= work + epochs * sum(cost.shared for cost in costs) + 2.0
