"""What captions and notes say."""

import pytest

from kdbench.reporting import captions
from kdbench.reporting.rows import rows
from kdbench.reporting.runs import Runs
from kdbench.reporting.table import TableCell


@pytest.mark.parametrize(
    ("selection", "words"),
    [
        ("last", "last epoch"),
        ("best_validation", "best validation epoch"),
        ("best_test", "best test epoch, optimistic"),
    ],
)
def test_a_caption_names_selection_seeds_and_spread(thesis, selection: str, words: str) -> None:
    world = thesis(track_test=True)
    runs = Runs(world.index, world.frame.assign(test_accuracy_best_test=0.5), selection)
    text = captions.caption(runs, "Accuracy in %")
    assert text.startswith(f"Accuracy in %, mean ± sample standard deviation over 3 seeds; selection: {words}")
    assert ("(optimistic)" in captions.chosen_by(runs, rows(runs))) == (selection == "best_test")
    assert "paired two-sided t-test over common seeds, 5 % level" in captions.bold(runs)


def test_one_seed_has_no_spread_and_no_test(world) -> None:
    world.add("a", [0.5])
    runs = Runs(world.index, world.frame, "last")
    assert captions.caption(runs, "Accuracy") == "Accuracy, one seed; selection: last epoch."
    assert "with one seed nothing can be tested" in captions.bold(runs)


def test_configurations_are_grouped_where_pairs_chose_differently(world) -> None:
    for student, alpha in (("B", 0.3), ("C", 0.1), ("D", 0.3)):
        pair = ("cifar10", "A", student)
        world.add("scratch", [0.5], kind="scratch", pair=pair)
        world.add("vanilla", [0.5], pair=pair, hyperparameters={"alpha": alpha, "temperature": 5.0})
        world.add("plain", [0.5], pair=pair)
    world.refuse("fsp", "no")
    runs = Runs(world.index, world.frame, "last")
    assert captions.configurations(rows(runs), runs.pairs) == (
        "vanilla: alpha = 0.3, temperature = 5 (A → B on cifar10; A → D on cifar10); "
        "alpha = 0.1, temperature = 5 (A → C on cifar10)",
        "plain: no hyperparameters",
    )
    assert captions.configurations(rows(runs), runs.pairs[1:2])[0] == "vanilla: alpha = 0.1, temperature = 5"


def test_notes_appear_where_they_hold(thesis) -> None:
    world = thesis()
    runs = Runs(world.index, world.frame, "last")
    notes = captions.notes(runs, rows(runs), [TableCell("n/a"), TableCell(mean=0.5, n=1, incomplete=True)])
    assert [note.split()[0] for note in notes] == ["†", "n/a:", "The"]
    assert captions.notes(runs, [], [TableCell("x")]) == ()


def test_without_validation_the_notes_say_that_nothing_was_chosen(thesis) -> None:
    world = thesis(validation=0.0)
    runs = Runs(world.index, world.frame, "last")
    assert "nothing can be chosen" in captions.notes(runs, rows(runs), [])[0]
    assert captions.chosen_by(runs, rows(runs)) == ""


def test_a_choice_among_unfinished_configurations_is_provisional(world) -> None:
    world.add("a", [0.5, 0.5], hyperparameters={"x": 1})
    world.add("a", [0.6, None], hyperparameters={"x": 2})
    runs = Runs(world.index, world.frame, "last")
    assert captions.notes(runs, rows(runs), []) == (
        "The choice among configurations is provisional: some of them are not complete.",
    )
