"""The sentences of captions and notes."""

import pytest

from kdbench.reporting import captions
from kdbench.reporting.matrix_results import MatrixResults
from kdbench.reporting.rows import make_rows
from kdbench.reporting.selection import choice_column
from kdbench.reporting.table import TableCell
from kdbench.results.columns import SEARCH_COLUMN


@pytest.mark.parametrize(
    ("selection", "description"),
    [
        ("last", "last epoch"),
        ("best_validation", "best validation epoch"),
        ("best_test", "best test epoch (optimistic: chosen on the test set)"),
    ],
)
def test_a_caption_names_selection_seeds_and_standard_deviation(thesis, selection: str, description: str) -> None:
    builder = thesis(track_test=True)
    runs = MatrixResults(builder.index, builder.frame.assign(test_accuracy_best_test=0.5), selection)
    text = captions.describe_numbers(runs, "Accuracy in %")
    assert text.startswith(f"Accuracy in %, mean ± sample standard deviation over 3 seeds; selection: {description}")
    assert ("(optimistic)" in captions.describe_choice(runs, make_rows(runs))) == (selection == "best_test")


def test_one_seed_has_no_standard_deviation_and_no_test(builder) -> None:
    builder.add("a", [0.5])
    runs = MatrixResults(builder.index, builder.frame, "last")
    assert captions.describe_numbers(runs, "Accuracy") == "Accuracy, one seed; selection: last epoch."


def test_configurations_are_listed_by_pair_if_pairs_differ(builder) -> None:
    for student, alpha in (("B", 0.3), ("C", 0.1), ("D", 0.3)):
        pair = ("cifar10", "A", student)
        builder.add("scratch", [0.5], kind="scratch", pair=pair)
        builder.add("vanilla", [0.5], pair=pair, hyperparameters={"alpha": alpha, "temperature": 5.0})
        builder.add("plain", [0.5], pair=pair)
    builder.add_incompatible("fsp", "no")
    runs = MatrixResults(builder.index, builder.frame, "last")
    assert captions.list_configurations(make_rows(runs), runs.pairs) == (
        "vanilla: alpha = 0.3, temperature = 5 (A → B on cifar10; A → D on cifar10); "
        "alpha = 0.1, temperature = 5 (A → C on cifar10)",
        "plain: no hyperparameters",
    )
    assert captions.list_configurations(make_rows(runs), runs.pairs[1:2])[0] == "vanilla: alpha = 0.1, temperature = 5"


def test_notes_appear_if_they_apply(thesis) -> None:
    builder = thesis()
    runs = MatrixResults(builder.index, builder.frame, "last")
    notes = captions.make_notes(runs, make_rows(runs), [TableCell("n/a"), TableCell(mean=0.5, n=1, is_incomplete=True)])
    assert [note.split()[0] for note in notes] == ["†", "n/a:", "All"]
    assert captions.make_notes(runs, [], [TableCell("x")]) == ()


def test_without_validation_a_note_replaces_the_choice(thesis) -> None:
    builder = thesis(validation=0.0)
    runs = MatrixResults(builder.index, builder.frame, "last")
    assert "no configuration is chosen" in captions.make_notes(runs, make_rows(runs), [])[0]
    assert captions.describe_choice(runs, make_rows(runs)) == ""


def test_a_choice_among_unfinished_configurations_is_provisional(builder) -> None:
    builder.add("a", [0.5, 0.5], hyperparameters={"x": 1})
    builder.add("a", [0.6, None], hyperparameters={"x": 2})
    runs = MatrixResults(builder.index, builder.frame, "last")
    assert captions.make_notes(runs, make_rows(runs), []) == (
        "The choice of hyperparameters is provisional: not all runs are finished.",
    )


def test_one_shared_teacher_is_noted_only_where_it_is_true(builder) -> None:
    builder.add("teacher", [0.9, 0.9], kind="teacher")
    teacher = builder.cells[0].runs
    builder.add("a", [0.5, 0.5], cell={"teachers": {"0": teacher["0"], "1": teacher["1"]}})
    runs = MatrixResults(builder.index, builder.frame, "last")
    assert not any("share" in note for note in captions.make_notes(runs, make_rows(runs), []))
    builder.cells[1:] = []
    for label, run in (("a", "x"), ("b", "y")):
        builder.add(label, [0.5, 0.5], cell={"teachers": {"0": run, "1": run}})
    runs = MatrixResults(builder.index, builder.frame, "last")
    assert captions.make_notes(runs, make_rows(runs), []) == ("All seeds of a row share one teacher run.",)


def test_the_caption_says_which_seeds_chose(thesis, searched) -> None:
    builder = thesis()
    runs = MatrixResults(builder.index, builder.frame, "last")
    assert "Chosen and reported on the same seeds" in captions.describe_choice(runs, make_rows(runs))
    assert captions.describe_choice(runs, make_rows(runs)[-1:]) == ""
    runs = MatrixResults(searched.index, searched.frame, "last")
    text = captions.describe_choice(runs, make_rows(runs))
    assert "on search seeds 100, 101 alone" in text
    assert "same seeds" not in text


@pytest.mark.parametrize(("selection", "epoch"), [("last", ""), ("best_validation", " of the saved weights")])
def test_a_search_chooses_by_the_last_epoch_whatever_is_selected(searched, selection: str, epoch: str) -> None:
    frame = searched.frame.assign(test_accuracy_best=0.5, val_accuracy_best=0.5)
    runs = MatrixResults(searched.index, frame, selection)
    expected = f"chosen by mean validation accuracy{epoch} on search seeds 100, 101 alone"
    assert expected in captions.describe_choice(runs, make_rows(runs))
    assert choice_column(searched.index, selection) == SEARCH_COLUMN


def test_the_caption_says_that_the_reported_runs_trained_on_validation_images(searched) -> None:
    searched.protocol["refit"] = True
    runs = MatrixResults(searched.index, searched.frame, "last")
    assert captions.describe_numbers(runs, "X").endswith("trained on training and validation images (refit).")
    assert "refit" not in captions.describe_numbers(runs, "X", is_search=True)


def test_a_baseline_that_was_searched_is_among_the_hyperparameters(builder) -> None:
    for lr, val in ((0.1, 0.5), (0.01, 0.6)):
        builder.add("scratch", [0.5], [val], kind="scratch", hyperparameters={"recipe.optimizer.lr": lr})
    runs = MatrixResults(builder.index, builder.frame, "last")
    found = captions.list_configurations(make_rows(runs), runs.pairs)
    assert found == ("student from scratch: recipe.optimizer.lr = 0.01",)
