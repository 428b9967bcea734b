"""Footnotes: in what a row differs from the student from scratch, apart from its method."""

import json
from dataclasses import replace

import pytest

from kdbench.matrix.recipe import Recipe
from kdbench.reporting import build_tables, to_frame
from kdbench.results import Training

PAIR, OTHER = ("cifar10", "resnet34", "resnet18"), ("mnist", "resnet34", "resnet18")


def _training(epochs: int, **changes) -> Training:
    sizes = {"train_images": 900, "validation_images": 100, "available_images": 1000, "test_images": 500}
    return Training(Recipe(epochs=epochs).model_dump(mode="json"), **{**sizes, "steps": 7 * epochs, **changes})


@pytest.fixture
def budgets(builder):
    """A teacher, a student from scratch and vanilla, all with 3 epochs; a training with 60."""
    builder.trainings |= {"short": _training(3), "long": _training(60)}
    builder.protocol |= {"seeds": (0, 1)}
    for pair in (PAIR, OTHER):
        builder.add("teacher", [0.9], kind="teacher", pair=pair, cell={"training": "short"})
        builder.add("scratch", [0.5, 0.6], kind="scratch", pair=pair, cell={"training": "short"})
    return builder


def _one_pair(builder):
    builder.cells = [cell for cell in builder.cells if cell.dataset == "cifar10"]
    return _notes(builder)


def _notes(builder):
    """Return the footnotes of each row of the accuracy table by the name of the row."""
    table = build_tables(builder.index, builder.frame)[0]
    return {row[0].text: table.row_notes(row) for row in table.rows}


def test_equal_rows_have_no_footnote(budgets) -> None:
    budgets.add("vanilla", [0.6, 0.7], cell={"training": "short"})
    assert _one_pair(budgets) == {"teacher": (), "student from scratch": (), "vanilla": ()}


def test_a_larger_budget_is_footnoted_at_the_row_and_at_its_gain(budgets) -> None:
    budgets.add("vanilla", [0.6, 0.7], cell={"training": "long"})
    budgets.add("dkd", [0.6, 0.7], cell={"training": "long"})
    text = "60 epochs; student from scratch: 3 epochs"
    assert _one_pair(budgets)["vanilla"] == (text,)
    table = build_tables(budgets.index, budgets.frame)[0]
    assert table.footnotes == {text: "a"}
    assert [table.marks(cell) for cell in table.rows[2]] == ["a", "", "a", ""]
    metrics = next(t for t in build_tables(budgets.index, budgets.frame) if t.name.startswith("metrics"))
    assert [metrics.marks(row[0]) for row in metrics.rows] == ["", "", "a", "a"]


def test_the_teacher_follows_the_same_rule(budgets) -> None:
    budgets.trainings["other"] = _training(3, train_images=200)
    budgets.cells = [replace(c, training="other") if c.kind == "scratch" else c for c in budgets.cells]
    assert _one_pair(budgets)["teacher"] == ("900 images; student from scratch: 200 images",)


def test_a_footnote_of_one_of_several_pairs_is_at_its_number(budgets) -> None:
    budgets.add("vanilla", [0.6, 0.7], cell={"training": "long"})
    budgets.add("vanilla", [0.6, 0.7], pair=OTHER, cell={"training": "short"})
    budgets.add("dkd", [0.6, 0.7], cell={"training": "long"})
    budgets.add("dkd", [0.6, 0.7], pair=OTHER, cell={"training": "long"})
    table = build_tables(budgets.index, budgets.frame)[0]
    assert [[table.marks(cell) for cell in row] for row in table.rows[2:]] == [["", "a", ""], ["a", "", ""]]


def test_a_teacher_of_its_own_is_named_and_described(budgets) -> None:
    own = budgets.add("teacher of vanilla", [0.95], kind="teacher", cell={"training": "long"})
    teachers = dict.fromkeys("01", own.runs["0"])
    budgets.add("vanilla", [0.6, 0.7], cell={"training": "short", "teachers": teachers})
    budgets.add("dkd", [0.6, 0.7], cell={"training": "short"})
    assert _one_pair(budgets) == {
        "teacher": (),
        "teacher of vanilla": ("60 epochs; teacher: 3 epochs",),
        "student from scratch": (),
        "vanilla": ("its teacher: teacher of vanilla",),
        "dkd": (),
    }
    notes = build_tables(budgets.index, budgets.frame)[0].notes
    assert "All seeds of a row share one teacher run." in notes
    assert "All seeds share one teacher run." not in notes


def test_a_row_over_other_seeds_is_marked(budgets) -> None:
    budgets.add("vanilla", [0.7], seeds=(1,), cell={"training": "short"})
    assert _one_pair(budgets)["vanilla"] == (
        "seed 1; student from scratch: seeds 0, 1; the gain is over their common seeds",
    )


def test_further_networks_are_counted_without_the_teacher_of_the_row(budgets) -> None:
    teacher, scratch = (next(c for c in budgets.cells if c.kind == kind) for kind in ("teacher", "scratch"))
    chain = {"teacher": "generation-1", "teachers.0": scratch.runs["0"]}
    budgets.rows.append({"run_id": "generation-1", "status": "done", "needs": json.dumps({"x": "before"})})
    budgets.add("born_again", [0.7, 0.7], cell={"training": "short"}, needs=json.dumps(chain))
    budgets.add("vanilla", [0.7, 0.7], cell={"training": "short"}, needs=json.dumps({"teacher": teacher.runs["0"]}))
    budgets.needed.append("generation-1")
    notes = _one_pair(budgets)
    assert notes["born_again"] == ("3 further networks trained first, for each seed",)
    assert notes["vanilla"] == ()


def test_what_a_method_sets_itself_and_what_happened_to_a_run(budgets) -> None:
    more = {"method_recipe": "student: schedule cosine, 4 cycles", "steps": 10, "student_steps": 100}
    budgets.add("snapshot", [0.7, 0.7], cell={"training": "short"}, **more)
    budgets.rows[-1]["environment_changes"] = "after epoch 1: torch was 2.7.1 and is 2.15.0"
    assert _one_pair(budgets)["snapshot"] == (
        "set by the method: student: schedule cosine, 4 cycles",
        "seed 1 was resumed in another environment: after epoch 1: torch was 2.7.1 and is 2.15.0",
        "10 steps of the student per batch; student from scratch: 1",
    )


def test_values_that_both_search_are_no_difference_except_for_the_epochs(budgets) -> None:
    budgets.cells = [
        replace(c, hyperparameters={"recipe.optimizer.lr": 0.1, "recipe.epochs": 3}) if c.kind == "scratch" else c
        for c in budgets.cells
    ]
    for epochs in (3, 60):
        training = _training(epochs)
        slow = {**training.recipe, "optimizer": {**training.recipe["optimizer"], "lr": 0.01}}
        budgets.trainings[f"slow {epochs}"] = replace(training, recipe=slow)
    searched = {"recipe.optimizer.lr": 0.01, "recipe.epochs": 3}
    budgets.add("vanilla", [0.6, 0.7], hyperparameters=searched, cell={"training": "slow 3"})
    budgets.add("dkd", [0.6, 0.7], cell={"training": "slow 3"})
    budgets.add("long", [0.6, 0.7], hyperparameters=searched, cell={"training": "slow 60"})
    notes = _one_pair(budgets)
    assert notes["vanilla"] == ()
    assert notes["dkd"] == ("lr 0.01; student from scratch: lr 0.1",)
    assert notes["long"] == ("60 epochs; student from scratch: 3 epochs",)


def test_a_data_frame_has_the_footnotes_in_a_column(budgets) -> None:
    budgets.add("vanilla", [0.6, 0.7], cell={"training": "long"})
    budgets.cells = [cell for cell in budgets.cells if cell.dataset == "cifar10"]
    frame = to_frame(build_tables(budgets.index, budgets.frame)[0])
    assert frame["notes"].to_dict() == {
        "teacher": "",
        "student from scratch": "",
        "vanilla": "60 epochs; student from scratch: 3 epochs",
    }


def test_tables_by_alpha_have_the_footnotes_of_their_labels(budgets) -> None:
    for label, training in (("vanilla", "long"), ("dkd", "short")):
        for alpha in (0.1, 0.9):
            budgets.add(label, [0.6, 0.7], hyperparameters={"alpha": alpha}, cell={"training": training})
    tables = [table for table in build_tables(budgets.index, budgets.frame) if table.name.startswith("alpha")]
    comparison, vanilla, dkd = tables
    assert [comparison.marks(column) for column in comparison.columns] == ["", "a", ""]
    assert list(vanilla.footnotes) == ["60 epochs; student from scratch: 3 epochs"]
    assert not dkd.footnotes


def test_a_budget_is_footnoted_too_if_no_recipe_of_the_baseline_could_be_chosen(builder) -> None:
    """Its search failed on every seed, so there is no gain, but its recipe is known."""
    builder.trainings |= {"short": _training(3), "long": _training(60)}
    for lr in (0.1, 0.2):
        given = {"recipe.optimizer.lr": lr}
        builder.add("scratch", ["boom", "boom"], kind="scratch", hyperparameters=given, cell={"training": "short"})
    builder.add("vanilla", [0.6, 0.7], cell={"training": "long"})
    assert "60 epochs; student from scratch: 3 epochs" in _notes(builder)["vanilla"]
