"""Table 3, cell by cell."""

from kdbench.reporting import tables
from kdbench.reporting.table import NOTHING


def _table(world, name, selection="last", frame=None):
    made = tables(world.index, world.frame if frame is None else frame, selection)
    return next(table for table in made if table.name == name)


def _shown(table):
    return [tuple(cell.shown for cell in row) for row in table.rows]


def test_the_chosen_configuration_and_what_chose_it(thesis) -> None:
    table = _table(thesis(), "hyperparameters")
    assert _shown(table) == [
        ("vanilla", "alpha = 0.9, temperature = 4", "2", "85.00 ± 0.00"),
        ("dkd", "beta = 8", "1", "84.00 ± 0.00"),
        ("half", NOTHING, "1", "89.00 (n=1)†"),
        ("broken", NOTHING, "1", "failed"),
        ("later", NOTHING, "1", "pending"),
    ]
    assert "best mean validation accuracy, whatever its test score" in table.caption


def _with_betas(world):
    for beta, val in ((1.0, 0.7), (2.0, 0.6)):
        world.add("beta", [0.9, 0.8, 0.7], [val] * 3, hyperparameters={"beta": beta, "temperature": 4.0})
    return world


def test_all_configurations_with_the_chosen_one_in_bold(thesis) -> None:
    table = _table(_with_betas(thesis()), "configurations-beta")
    assert _shown(table) == [
        ("beta = 1", "70.00 ± 0.00", "80.00 ± 10.00"),
        ("beta = 2", "60.00 ± 0.00", "80.00 ± 10.00"),
    ]
    assert [[cell.chosen for cell in row] for row in table.rows] == [[True] * 3, [False] * 3]


def test_a_list_only_for_labels_with_several_configurations_that_no_table_of_alphas_shows(thesis) -> None:
    world = _with_betas(thesis())
    names = [table.name for table in tables(world.index, world.frame)]
    assert [name for name in names if name.startswith("configurations")] == ["configurations-beta"]


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


def test_without_validation_every_configuration_stands_alone(thesis) -> None:
    world = thesis(validation=0.0)
    world_frame = world.frame.assign(val_accuracy=None)
    table = _table(world, "hyperparameters", frame=world_frame)
    assert [row[0].text for row in table.rows[:2]] == ["vanilla (alpha = 0.1)", "vanilla (alpha = 0.9)"]
    assert [row[2].text for row in table.rows[:2]] == ["1", "1"]
    assert table.rows[0][3].missing
    assert any("nothing can be chosen" in note for note in table.notes)
