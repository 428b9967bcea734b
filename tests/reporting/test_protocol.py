"""The protocol in a few lines."""

import pytest

from kdbench.matrix.recipe import AdamW, Recipe, Translate
from kdbench.reporting import build_tables, make_report, render
from kdbench.results import Training

STUDENT = Recipe(epochs=50, batch_size=32, optimizer=AdamW(lr=1e-2), schedule="one_cycle", precision="fp32")
TEACHER = STUDENT.model_copy(update={"epochs": 15, "augment": (Translate(),)})


def _training(recipe: Recipe, images: int, duplicates: int = 0) -> Training:
    return Training(recipe.model_dump(mode="json"), images, 287, 1437, 360, 300, test_duplicates=duplicates)


@pytest.fixture
def quickstart(builder):
    """A teacher and a student from scratch with different recipes."""
    builder.trainings = {"teacher": _training(TEACHER, 1000), "student": _training(STUDENT, 200)}
    builder.protocol = {"seeds": (0, 1), "split_seed": 3}
    builder.add("teacher", [0.9], kind="teacher", cell={"training": "teacher"})
    builder.add("scratch", [0.5, 0.6], kind="scratch", cell={"training": "student"})
    return builder


IMAGES = "200 of 1,437 to train on, 287 for validation, 360 for the test"
RECIPE = "50 epochs, batch size 32, adamw (lr 0.01, weight_decay 0.01), one_cycle schedule, no augmentation, fp32"


def test_the_head_has_both_recipes(quickstart) -> None:
    text = make_report(quickstart.index, quickstart.frame).summary
    assert f"- images: {IMAGES}\n- students: {RECIPE}\n- teacher: 1,000 images, 15 epochs, batch size 32, " in text
    assert "translate (pixels 1), fp32\n- seeds: 0, 1; split seed: 3; teacher seed: 0\n" in text


def test_a_table_that_stands_alone_has_the_protocol_and_a_report_has_it_once(quickstart) -> None:
    accuracy, metrics, costs, *_ = build_tables(quickstart.index, quickstart.frame)
    lines = (f"Images: {IMAGES}.", f"Recipe: {RECIPE}.", "Seeds: 0, 1; split seed: 3; teacher seed: 0.")
    for table in (accuracy, metrics, costs):
        assert table.protocol == lines
        for name in ("table", "markdown", "latex"):
            assert "Seeds: 0, 1; split seed: 3" in render(table, name)
    files = make_report(quickstart.index, quickstart.frame).files()
    assert files["report.md"].count("200 of 1,437") == 1
    assert "200 of 1,437" in files["tables/accuracy.tex"]


def test_data_sets_with_other_numbers_have_a_line_each(quickstart) -> None:
    quickstart.trainings["more"] = _training(STUDENT, 500, duplicates=10)
    pair = ("mnist", "resnet34", "resnet18")
    quickstart.add("scratch", [0.5, 0.6], kind="scratch", pair=pair, cell={"training": "more"})
    first, second, recipe, _ = build_tables(quickstart.index, quickstart.frame)[0].protocol
    assert first.startswith("Images (cifar10): 200 of 1,437")
    assert second.startswith("Images (mnist): 500 of 1,437")
    assert second.endswith("; also among the training images: 10 of the test images.")
    assert recipe == f"Recipe: {RECIPE}."


def test_search_seeds_paired_seeds_and_refit(quickstart) -> None:
    quickstart.search_seeds = (100,)
    quickstart.protocol |= {"split_seed": "paired", "teacher_seed": "paired", "refit": True}
    assert build_tables(quickstart.index, quickstart.frame)[0].protocol[-1] == (
        "Seeds: 0, 1; search seeds: 100; split seed: the seed of each run; teacher seed: the seed of each run. "
        "What is reported was trained on training and validation images (refit)."
    )


def test_a_searched_value_of_the_recipe_is_named_beside_that_of_the_student_from_scratch(quickstart) -> None:
    given = {"alpha": 0.5, "recipe.optimizer.lr": 0.02}
    quickstart.add("vanilla", [0.6, 0.7], hyperparameters=given, cell={"training": "student"})
    line = "Searched in the recipe: optimizer.lr; the hyperparameters list the value of each row."
    assert line in build_tables(quickstart.index, quickstart.frame)[0].protocol
    assert f"- {line[0].lower()}{line[1:-1]}\n" in make_report(quickstart.index, quickstart.frame).summary
