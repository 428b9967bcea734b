"""The tables of hyperparameters, cell by cell."""

from dataclasses import replace

from kdbench.reporting import build_tables
from kdbench.reporting.table import DASH


def _table(builder, name, selection="last", frame=None):
    made = build_tables(builder.index, builder.frame if frame is None else frame, selection)
    return next(table for table in made if table.name == name)


def _shown(table):
    return [tuple(cell.display for cell in row) for row in table.rows]


def test_the_chosen_configuration_and_its_validation_accuracy(thesis) -> None:
    table = _table(thesis(), "hyperparameters")
    assert _shown(table) == [
        ("vanilla", "alpha = 0.9, temperature = 4", "2", "85.00 ± 0.00"),
        ("dkd", "beta = 8", "1", "84.00 ± 0.00"),
        ("half", DASH, "1", "89.00 (n=1, 1 failed)†"),
        ("broken", DASH, "1", "3 of 3 diverged"),
        ("later", DASH, "1", "pending"),
    ]
    assert "chosen by mean validation accuracy; the test set is not used" in table.caption


def _with_betas(builder):
    for beta, val in ((1.0, 0.7), (2.0, 0.6)):
        builder.add("beta", [0.9, 0.8, 0.7], [val] * 3, hyperparameters={"beta": beta, "temperature": 4.0})
    return builder


def test_all_configurations_with_the_chosen_one_in_bold(thesis) -> None:
    table = _table(_with_betas(thesis()), "configurations-beta")
    assert _shown(table) == [
        ("beta = 1", "70.00 ± 0.00", "80.00 ± 10.00"),
        ("beta = 2", "60.00 ± 0.00", "80.00 ± 10.00"),
    ]
    assert [[cell.is_chosen for cell in row] for row in table.rows] == [[True] * 3, [False] * 3]


def test_only_labels_with_several_configurations_and_no_alpha_table_have_a_list(thesis) -> None:
    builder = _with_betas(thesis())
    names = [table.name for table in build_tables(builder.index, builder.frame)]
    assert [name for name in names if name.startswith("configurations")] == ["configurations-beta"]


def test_several_pairs_have_a_column_of_pairs(thesis) -> None:
    builder = thesis((("a", "t", "s"), ("b", "t", "s")))
    table = _table(builder, "hyperparameters")
    assert table.columns[1].title == "pair"
    assert _shown(table)[:2] == [
        ("vanilla", "a: t → s", "alpha = 0.9, temperature = 4", "2", "85.00 ± 0.00"),
        ("vanilla", "b: t → s", "alpha = 0.9, temperature = 4", "2", "85.00 ± 0.00"),
    ]


def test_best_test_shows_the_test_score(thesis) -> None:
    builder = thesis(track_test=True)
    frame = builder.frame.assign(test_accuracy_best_test=builder.frame["test_accuracy"])
    table = _table(builder, "hyperparameters", "best_test", frame)
    assert table.columns[-1].title == "test (%)"
    assert _shown(table)[0] == ("vanilla", "alpha = 0.9, temperature = 4", "2", "93.10 ± 1.10")
    assert "(optimistic)" in table.caption


def test_without_validation_every_configuration_has_a_row(thesis) -> None:
    builder = thesis(validation=0.0)
    frame = builder.frame.assign(val_accuracy=None)
    table = _table(builder, "hyperparameters", frame=frame)
    assert [row[0].text for row in table.rows[:2]] == ["vanilla (alpha = 0.1)", "vanilla (alpha = 0.9)"]
    assert [row[2].text for row in table.rows[:2]] == ["1", "1"]
    assert table.rows[0][3].is_missing
    assert any("no configuration is chosen" in note for note in table.notes)


def test_the_search_phase_is_in_the_appendix(searched) -> None:
    table = _table(searched, "hyperparameters")
    assert _shown(table) == [("vanilla", "alpha = 0.9", "2", "85.00 ± 0.00")]
    assert "over 2 search seeds" in table.caption
    assert "chosen by mean validation accuracy on search seeds 100, 101 alone" in table.caption
    alpha = _table(searched, "alpha-vanilla-cifar10-resnet34-resnet18")
    assert [row[0].display for row in alpha.rows if row[0].is_chosen] == ["0.9"]
    assert "gain over scratch" not in [column.full_title for column in alpha.columns]


def test_configurations_of_the_search_have_no_test_score(searched) -> None:
    searched.cells = [
        replace(cell, hyperparameters={"beta": cell.hyperparameters.get("alpha")}) for cell in searched.cells
    ]
    table = _table(searched, "configurations-vanilla")
    assert _shown(table) == [("beta = 0.1", "80.00 ± 0.00"), ("beta = 0.9", "85.00 ± 0.00")]
    assert [row[0].is_chosen for row in table.rows] == [False, True]
