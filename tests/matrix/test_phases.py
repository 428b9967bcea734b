"""The search and the report: their seeds, splits and teachers, and protocols that are refused."""

from collections.abc import Callable
from typing import Any

import pytest

from kdbench.errors import MatrixError
from kdbench.matrix import Cell, Expansion, MatrixSpec, Sweep

Expand = Callable[..., Expansion]
SWEPT = {"vanilla": {"alpha": [0.1, 0.5, 0.9]}, "triplet": {}}
SEARCH = {"search_seeds": [100, 101]}


def sweeps(expansion: Expansion) -> list[Sweep]:
    return [item for item in expansion.items if isinstance(item, Sweep)]


def seeds(cells: list[Cell]) -> list[tuple[str, str, list[int]]]:
    return [(cell.label, cell.phase, list(cell.runs)) for cell in cells]


def test_a_label_with_several_configurations_is_searched_and_others_are_not(expanded: Expand) -> None:
    found = expanded(seeds=[0, 1, 2], methods=SWEPT, protocol=SEARCH)
    (sweep,) = sweeps(found)
    assert seeds(list(sweep.search)) == [("vanilla", "search", [100, 101])] * 3
    assert [seeds([report])[0] for _, report in sweep.candidates] == [("vanilla", "report", [0, 1, 2])] * 3
    assert seeds([item for item in found.items if isinstance(item, Cell)]) == [
        ("teacher", "report", [0]),
        ("scratch", "report", [0, 1, 2]),
        ("triplet", "report", [0, 1, 2]),
    ]
    for search, report in sweep.candidates:
        assert search.first.hyperparameters == report.first.hyperparameters
        assert search.first.cell == report.first.cell


def test_only_the_chosen_configuration_is_reported(expanded: Expand) -> None:
    (sweep,) = sweeps(expanded(methods=SWEPT, protocol=SEARCH))
    assert (sweep.chosen, sweep.cells) == (None, sweep.search)
    chosen = sweep.choose(1)
    assert [cell.phase for cell in chosen.cells] == ["search"] * 3 + ["report"]
    assert chosen.report.first.hyperparameters["alpha"] == 0.5


def test_a_swept_recipe_is_searched_for_scratch_too(expanded: Expand) -> None:
    found = expanded(recipe={"student": {"epochs": [3, 4]}}, methods={"triplet": {}}, protocol=SEARCH)
    assert [(sweep.search[0].kind, len(sweep.candidates)) for sweep in sweeps(found)] == [("scratch", 2), ("method", 2)]


def test_both_phases_share_a_fixed_teacher(expanded: Expand) -> None:
    found = expanded(methods=SWEPT, protocol=SEARCH)
    (teacher,) = [cell for cell in found.cells if cell.kind == "teacher"]
    (sweep,) = sweeps(found)
    runs = [run for cell in (*sweep.search, sweep.report) for run in cell.runs.values()]
    assert {run.teacher.id for run in runs if run.teacher} == {teacher.first.id}
    assert {one.id for cell in found.cells[1:] for one in cell.teachers.values()} == {teacher.first.id}


def test_each_phase_has_paired_teachers_of_its_own(expanded: Expand) -> None:
    found = expanded(seeds=[0, 1], methods=SWEPT, protocol={**SEARCH, "teacher_seed": "paired"})
    teachers = [cell for cell in found.cells if cell.kind == "teacher"]
    assert seeds(teachers) == [("teacher", "report", [0, 1]), ("teacher", "search", [100, 101])]
    (sweep,) = sweeps(found)
    for cell, own in (sweep.report, teachers[0]), (sweep.search[0], teachers[1]):
        assert {s: run.teacher.id for s, run in cell.runs.items() if run.teacher} == {
            s: run.id for s, run in own.runs.items()
        }


def test_no_teacher_is_trained_for_a_search_that_reads_none(expanded: Expand) -> None:
    methods = {"mutual": {"weight": [1.0, 2.0]}, "vanilla": {}}
    found = expanded(methods=methods, protocol={**SEARCH, "teacher_seed": "paired"})
    assert seeds([cell for cell in found.cells if cell.kind == "teacher"]) == [("teacher", "report", [0])]
    (sweep,) = sweeps(found)
    assert (sweep.search[0].teachers, list(sweep.report.teachers)) == ({}, [0])


def test_a_refit_has_no_validation_images(expanded: Expand) -> None:
    found = expanded(methods=SWEPT, protocol={**SEARCH, "refit": True, "validation": 0.2})
    cells = [*found.cells, *(sweep.report for sweep in sweeps(found))]
    for cell in cells:
        expected = 0.2 if cell.phase == "search" else 0.0
        runs = [one for run in cell.runs.values() for one in (run, *(need for _, need in run.needs))]
        assert {run.split.validation for run in runs} == {expected}
    assert seeds([cell for cell in cells if cell.kind == "teacher"]) == [
        ("teacher", "report", [0]),
        ("teacher", "search", [0]),
    ]


def test_a_run_of_a_refit_is_that_of_a_matrix_without_validation(expanded: Expand) -> None:
    refit = expanded(seeds=[0, 1], methods=SWEPT, protocol={**SEARCH, "refit": True})
    plain = expanded(seeds=[0, 1], methods={"triplet": {}}, protocol={"validation": 0})
    for label in "teacher", "scratch", "triplet":
        one, other = (
            next(cell for cell in found.cells if (cell.label, cell.phase) == (label, "report"))
            for found in (refit, plain)
        )
        assert [run.id for run in one.runs.values()] == [run.id for run in other.runs.values()]


def test_paired_splits_are_those_of_the_seeds(expanded: Expand) -> None:
    paired = {"split_seed": "paired", "teacher_seed": "paired"}
    found = expanded(seeds=[3, 4], methods={"vanilla": {}, "triplet": {}}, protocol=paired)
    for cell in found.cells:
        assert {seed: run.split.split_seed for seed, run in cell.runs.items()} == {3: 3, 4: 4}
        assert len({run.cell for run in cell.runs.values()}) == 1
    fixed = expanded(seeds=[3], methods={"vanilla": {}}, protocol={"split_seed": 3, "teacher_seed": "paired"})
    assert [cell.runs[3].id for cell in fixed.cells] == [cell.runs[3].id for cell in found.cells[:3]]
    assert all(a.runs[3].cell != b.runs[3].cell for a, b in zip(fixed.cells, found.cells, strict=False))


def test_excluded_seeds_of_both_phases(expanded: Expand) -> None:
    rule = {"method": "vanilla", "seed": [1, 101]}
    found = expanded(seeds=[0, 1], methods=SWEPT, protocol=SEARCH, exclude=[rule])
    (sweep,) = sweeps(found)
    assert (list(sweep.search[0].runs), list(sweep.report.runs)) == ([100], [0])
    assert [(one.label, one.seeds) for one in found.excluded] == [("vanilla", (101, 1))]
    assert found.warnings == ()


def test_a_search_seed_of_a_label_without_a_search_excludes_nothing(expanded: Expand) -> None:
    rule = {"method": "triplet", "seed": 101}
    found = expanded(methods=SWEPT, protocol=SEARCH, exclude=[rule])
    assert (found.excluded, found.warnings) == ((), ("m.toml: exclude[0]: has no effect",))


def test_a_label_that_is_excluded_is_not_searched(expanded: Expand) -> None:
    methods = {**SWEPT, "layers": {"at": [[1], [2]]}}
    found = expanded(methods=methods, protocol=SEARCH, exclude=[{"method": "vanilla", "seed": 0}])
    assert [sweep.search[0].label for sweep in sweeps(found)] == ["layers"]


PAIRED = {"teacher_seed": "paired", "split_seed": "paired"}
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a shared seed": (
        {"seeds": [0, 7], "protocol": {"search_seeds": [100, 7]}},
        "protocol.search_seeds: must not contain a seed of 'seeds', got 7 in both; choose other search seeds, so that "
        "the reported runs have chosen nothing",
    ),
    "no search seed": (
        {"protocol": {"search_seeds": []}},
        "protocol.search_seeds: must have at least 1 value, got []",
    ),
    "a repeated search seed": (
        {"protocol": {"search_seeds": [100, 101, 100]}},
        "protocol.search_seeds: must not repeat a value, but [2] equals [0], got",
    ),
    "a negative search seed": (
        {"protocol": {"search_seeds": [-1]}},
        "protocol.search_seeds[0]: must be greater than or equal to 0, got -1",
    ),
    "a search without validation": (
        {"protocol": {"search_seeds": [100], "validation": 0}},
        "protocol.search_seeds: configurations are chosen on validation images, but protocol.validation is 0; set it",
    ),
    "a refit without a search": (
        {"protocol": {"refit": True}},
        "protocol.refit: needs protocol.search_seeds, because the reported runs have no validation images to choose "
        "configurations on; set search_seeds = [100], or remove refit",
    ),
    "a paired split with one teacher": (
        {"protocol": {"split_seed": "paired", "teacher_seed": 3}},
        'protocol.split_seed: "paired" needs teacher_seed = "paired", got teacher_seed = 3; otherwise a teacher would '
        "train on validation images of its students",
    ),
    "another word for a split": (
        {"protocol": {"split_seed": "pair"}},
        "protocol.split_seed: must be a valid integer or 'paired', got 'pair'",
    ),
}


@pytest.mark.parametrize(("tables", "message"), REFUSED.values(), ids=REFUSED)
def test_a_protocol_that_is_refused_when_it_is_read(
    matrix: Callable[..., MatrixSpec], tables: dict[str, Any], message: str
) -> None:
    with pytest.raises(MatrixError) as caught:
        matrix(**tables)
    assert str(caught.value).startswith(f"m.toml: {message}")


@pytest.mark.parametrize("methods", [{}, {"vanilla": {"alpha": [0.5]}, "triplet": {}}], ids=["no label", "no sweep"])
def test_a_search_without_anything_to_choose_is_refused(expanded: Expand, methods: dict[str, Any]) -> None:
    with pytest.raises(MatrixError) as caught:
        expanded(methods=methods, protocol=SEARCH)
    assert str(caught.value).startswith(
        "m.toml: protocol.search_seeds: no label has two or more configurations to choose from; give a list of values"
    )


def test_a_matrix_with_everything_excluded_has_nothing_to_search(expanded: Expand) -> None:
    assert expanded(methods=SWEPT, protocol=SEARCH, exclude=[{"dataset": "digits"}]).items == ()


def test_a_label_without_a_search_seed_is_refused(expanded: Expand) -> None:
    with pytest.raises(MatrixError) as caught:
        expanded(methods=SWEPT, protocol=SEARCH, exclude=[{"method": "vanilla", "seed": [100, 101]}])
    assert str(caught.value).startswith(
        "m.toml: exclude: leaves no search seed to choose the configuration of 'vanilla' on"
    )


@pytest.mark.parametrize("role", ["teacher", "student"])
@pytest.mark.parametrize("recipe", [{"schedule": "plateau"}, {"early_stopping": {}}, {"monitor": "accuracy"}])
def test_a_refit_reads_no_validation(expanded: Expand, role: str, recipe: dict[str, Any]) -> None:
    with pytest.raises(MatrixError) as caught:
        expanded(methods=SWEPT, recipe={role: recipe}, protocol={**SEARCH, "refit": True})
    assert str(caught.value) == (
        f"m.toml: recipe.{role}.{next(iter(recipe))}: needs validation images, but protocol.refit trains on them too; "
        "change this key, or set protocol.refit = false"
    )
