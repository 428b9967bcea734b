"""Plans with a search: what is trained in each phase, which configuration is chosen, and who has seen which images."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from plans import RECIPE, plan_of

from kdbench import data
from kdbench.data.run_images import split_images
from kdbench.estimate.kinds import find_pending
from kdbench.matrix import Cell, RunSpec, Sweep
from kdbench.plan import Plan
from kdbench.plan.choice import choose_configurations, choose_finished
from kdbench.plan.compatible import check_items
from kdbench.results import Store

SEARCH = {"search_seeds": [100, 101, 102]}
METHODS: dict[str, Any] = {"vanilla": {"alpha": [0.1, 0.5, 0.9]}, "logit_mse": {}}


def search_of(plan: Plan) -> Plan:
    """Return the plan of the runs that choose configurations."""
    return replace(plan, items=tuple(cell for cell in plan.cells if cell.phase == "search"))


def search_plan(**protocol: Any) -> Plan:
    return plan_of(methods=METHODS, protocol={**SEARCH, **protocol})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


def finish(store: Store, runs: Iterable[RunSpec], score: Callable[[RunSpec], float | None]) -> None:
    """Write the result of each run: its validation accuracy, or a failure if that is None."""
    for run in runs:
        store.write_spec(run)
        value = score(run)
        result = {"status": "failed", "error": "NaN"} if value is None else {"status": "done"}
        store.write_result(run.id, {**result, "row": {"val_accuracy": value, "test_accuracy": 1 - (value or 0)}})


def alpha(run: RunSpec) -> float:
    return float(run.hyperparameters.get("alpha", 0.0))


def chosen_alpha(plan: Plan) -> float | None:
    (sweep,) = plan.sweeps
    return None if sweep.chosen is None else alpha(sweep.report.first)


def reported(plan: Plan) -> list[tuple[str, list[int]]]:
    return [(cell.label, list(cell.runs)) for cell in plan.cells if cell.phase == "report" and cell.kind == "method"]


def test_the_configuration_with_the_best_mean_validation_accuracy_is_chosen(store: Store) -> None:
    plan = search_plan()
    finish(
        store, search_of(plan).runs, lambda run: 0.8 - abs(alpha(run) - 0.5) / 2 + 0.15 * (run.seed == 100) * alpha(run)
    )
    chosen = choose_configurations(plan, store)
    assert chosen_alpha(chosen) == 0.5
    assert reported(plan) == [("logit_mse", [0, 1])]
    assert reported(chosen) == [("vanilla", [0, 1]), ("logit_mse", [0, 1])]
    assert {run.id for run in plan.runs} < {run.id for run in chosen.runs}
    assert len(chosen.runs) == len(plan.runs) + 2 == len(plan.choose_first().runs)


def test_a_configuration_with_a_failed_seed_is_not_chosen_while_a_complete_one_exists(store: Store) -> None:
    plan = search_plan()
    scores = {0.1: 0.6, 0.5: 0.5, 0.9: 0.99}
    finish(
        store,
        search_of(plan).runs,
        lambda run: None if (alpha(run), run.seed) == (0.9, 101) else scores.get(alpha(run)),
    )
    assert chosen_alpha(choose_configurations(plan, store)) == 0.1


def test_nothing_is_chosen_if_all_configurations_failed(store: Store) -> None:
    plan = search_plan()
    finish(store, search_of(plan).runs, lambda run: None)
    chosen = choose_configurations(plan, store)
    assert (chosen_alpha(chosen), len(chosen.undecided), chosen.index().undecided) == (None, 1, 1)


def test_nothing_is_chosen_before_the_search_is_finished(store: Store) -> None:
    plan = search_plan()
    *all_but_one, last = search_of(plan).runs
    finish(store, all_but_one, alpha)
    assert chosen_alpha(choose_finished(plan, store)) is None
    finish(store, [last], alpha)
    assert chosen_alpha(choose_finished(plan, store)) == 0.9


def test_the_search_has_the_swept_runs_and_what_they_need() -> None:
    plan = search_plan()
    search = search_of(plan)
    assert {(run.method, run.seed) for run in search.runs} == {
        ("scratch", 0),  # the teacher
        *(("vanilla", seed) for seed in (100, 101, 102)),
    }


def test_the_index_has_the_cells_of_both_phases(store: Store) -> None:
    plan = search_plan(refit=True)
    index = plan.index()
    assert (index.search_seeds, index.seeds, index.refit, index.undecided) == ((100, 101, 102), (0, 1), True, 1)
    finish(store, search_of(plan).runs, alpha)
    index = choose_configurations(plan, store).index()
    cells = [(cell.label, cell.phase, cell.hyperparameters["alpha"]) for cell in index.cells if cell.label == "vanilla"]
    assert cells == [("vanilla", "search", value) for value in (0.1, 0.5, 0.9)] + [("vanilla", "report", 0.9)]
    assert index.undecided == 0
    for cell in index.cells:
        training = index.trainings[cell.training]
        assert (training.validation_images > 0) == (cell.phase == "search")
    assert type(index).from_json(index.to_json()) == index


def test_a_swept_recipe_is_among_the_hyperparameters_of_the_index() -> None:
    student = {"optimizer": {"name": "sgd", "lr": [0.1, 0.2]}}
    plan = plan_of(recipe={**RECIPE, "student": student}, methods={"vanilla": {}})
    cells = [cell for cell in plan.index().cells if cell.kind != "teacher"]
    rates = [(cell.kind, cell.hyperparameters["recipe.optimizer.lr"]) for cell in cells]
    assert rates == [("scratch", 0.1), ("scratch", 0.2), ("method", 0.1), ("method", 0.2)]
    assert len({cell.training for cell in cells}) == 2
    assert all("recipe.optimizer.lr" not in run.hyperparameters for run in plan.runs)


@pytest.mark.parametrize(("left", "sweeps"), [((0.1, 0.9), 1), ((0.5,), 0), ((), 0)])
def test_only_compatible_configurations_are_searched(left: tuple[float, ...], sweeps: int) -> None:
    def reason(cell: Cell) -> str | None:
        return "no" if cell.label == "vanilla" and alpha(cell.first) not in left else None

    items, incompatible = check_items(search_plan().items, reason)
    kept = [item for item in items if isinstance(item, Sweep)]
    assert [[alpha(cell.first) for cell in sweep.search] for sweep in kept] == [list(left)] * sweeps
    assert [(one.cell.phase, alpha(one.cell.first)) for one in incompatible] == [
        ("search", value) for value in (0.1, 0.5, 0.9) if value not in left
    ]
    alone = [cell for cell in items if isinstance(cell, Cell) and cell.label == "vanilla"]
    assert [(cell.phase, alpha(cell.first)) for cell in alone] == [("report", 0.5)] * (left == (0.5,))


def test_a_teacher_of_an_incompatible_label_is_not_trained() -> None:
    override = [{"when": {"method": "attention"}, "set": {"recipe": {"teacher": {"epochs": 3}}}}]
    plan = plan_of(methods={"attention": {}}, override=override)
    assert [cell.label for cell in plan.cells] == ["teacher", "scratch"]


PROTOCOLS: dict[str, dict[str, Any]] = {
    "one split and teacher": {},
    "another split": {"split_seed": 5, "teacher_seed": 3},
    "paired teachers": {"teacher_seed": "paired"},
    "paired splits": {"teacher_seed": "paired", "split_seed": "paired"},
    "paired splits and a refit": {"teacher_seed": "paired", "split_seed": "paired", "refit": True},
    "a refit": {"refit": True},
}


def every_run(plan: Plan) -> Iterator[RunSpec]:
    """Yield the runs of every cell, also those of configurations that may be chosen."""
    for item in plan.items:
        cells: Iterable[Cell] = [c for both in item.candidates for c in both] if isinstance(item, Sweep) else [item]
        for cell in cells:
            yield from cell.runs.values()


def needed(run: RunSpec) -> Iterator[RunSpec]:
    for _, need in run.needs:
        yield need
        yield from needed(need)


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS)
def test_no_needed_run_has_seen_a_validation_image(protocol: dict[str, Any]) -> None:
    recipe = {**RECIPE, "teacher": {"train_samples": 400}, "student": {"epochs": [2, 3]}}
    methods = {"vanilla": {}, "born_again": {"generations": [2, 3]}, "dml": {}}
    plan = plan_of(recipe=recipe, methods=methods, seeds=[0, 1], protocol={**SEARCH, "validation": 0.2, **protocol})
    digits = data.load(plan.runs[0].dataset)
    runs = list(every_run(plan))
    pairs = [(run, need) for run in runs for need in needed(run)]
    assert len({need.method for _, need in pairs}) == 2  # teachers and earlier generations
    for run, need in pairs:
        images, seen = (split_images(digits, one.split, one.recipe) for one in (run, need))
        assert not np.intersect1d(images.validation, seen.train).size
        assert len(images.validation) == (0 if protocol.get("refit") and run.seed < 100 else len(seen.validation))
    splits = {run.split.split_seed for run in runs}
    assert splits == (
        {0, 1, 100, 101, 102} if protocol.get("split_seed") == "paired" else {protocol.get("split_seed", 0)}
    )
    if protocol.get("split_seed") == "paired":
        parts = [split_images(digits, run.split, run.recipe).validation for run in runs if run.seed in (100, 101)]
        assert len({part.tobytes() for part in parts}) == 2


def test_the_estimate_counts_both_phases(store: Store) -> None:
    plan = search_plan()
    assert len(find_pending(plan, store.root)) == len(plan.runs) + 2
    finish(store, search_of(plan).runs, alpha)
    pending = find_pending(plan, store.root)
    assert len(pending) == len(plan.runs) + 2 - len(search_of(plan).runs)
    assert {alpha(run.spec) for run in pending if run.spec.method == "vanilla"} == {0.9}
