"""Table 3, cell by cell."""

from kdbench.report import tables
from kdbench.report.table import NOTHING


def _table(world, name, selection="last", frame=None):
    made = tables(world.index, world.frame if frame is None else frame, selection)
    return next(table for table in made if table.name == name)


def _shown(table):
    return [tuple(cell.shown for cell in row) for row in table.rows]


def test_the_chosen_setting_and_what_chose_it(thesis) -> None:
    table = _table(thesis(), "hyperparameters")
    assert _shown(table) == [
        ("vanilla", "alpha = 0.9, temperature = 4", "2", "85.00 ± 0.00"),
        ("dkd", "beta = 8", "1", "84.00 ± 0.00"),
        ("half", NOTHING, "1", "89.00 (n=1)†"),
        ("broken", NOTHING, "1", "failed"),
        ("later", NOTHING, "1", "waiting"),
    ]
    assert "best mean validation accuracy, whatever its test score" in table.caption


def test_all_settings_with_the_chosen_one_in_bold(thesis) -> None:
    table = _table(thesis(), "settings-vanilla")
    assert _shown(table) == [
        ("alpha = 0.1", "80.00 ± 0.00", "91.60 ± 1.10"),
        ("alpha = 0.9", "85.00 ± 0.00", "93.10 ± 1.10"),
    ]
    assert [row[0].bold for row in table.rows] == [False, True]


def test_only_labels_with_several_settings_have_a_list(thesis) -> None:
    world = thesis()
    names = [table.name for table in tables(world.index, world.frame)]
    assert [name for name in names if name.startswith("settings")] == ["settings-vanilla"]


def test_several_pairs_name_theirs(thesis) -> None:
    world = thesis((("a", "t", "s"), ("b", "t", "s")))
    table = _table(world, "hyperparameters")
    assert table.columns[1].title == "pair"
    assert _shown(table)[:2] == [
        ("vanilla", "a: t → s", "alpha = 0.9, temperature = 4", "2", "85.00 ± 0.00"),
        ("vanilla", "b: t → s", "alpha = 0.9, temperature = 4", "2", "85.00 ± 0.00"),
    ]


def test_best_test_shows_the_test_score_that_chose(thesis) -> None:
    world = thesis(track_test=True)
    frame = world.frame.assign(test_accuracy_best_test=world.frame["test_accuracy"])
    table = _table(world, "hyperparameters", "best_test", frame)
    assert table.columns[-1].title == "test (%)"
    assert _shown(table)[0] == ("vanilla", "alpha = 0.9, temperature = 4", "2", "93.10 ± 1.10")
    assert "(optimistic)" in table.caption


def test_without_validation_every_setting_stands_alone(thesis) -> None:
    world = thesis(validation=0.0)
    world_frame = world.frame.assign(val_accuracy=None)
    table = _table(world, "hyperparameters", frame=world_frame)
    assert [row[0].text for row in table.rows[:2]] == ["vanilla (alpha = 0.1)", "vanilla (alpha = 0.9)"]
    assert [row[2].text for row in table.rows[:2]] == ["1", "1"]
    assert table.rows[0][3].missing
    assert any("nothing can be chosen" in note for note in table.notes)
