"""The tables by alpha, cell by cell."""

import pytest

from kdbench.reporting import build_tables
from kdbench.reporting.table import DASH, MINUS

STEM = "cifar10-resnet34-resnet18"


@pytest.fixture
def swept(builder):
    """Two labels with the same alphas, one of them at two temperatures; validation prefers alpha 0, test 0.5."""
    builder.add("teacher", [0.95], kind="teacher")
    builder.add("scratch", [0.80, 0.82], kind="scratch")
    for temperature in (2.0, 5.0):
        for alpha in (0.5, 0.0):
            test, val = 0.7 + alpha / 10 + temperature / 100, 0.6 - alpha / 10 - temperature / 100
            given = {"alpha": alpha, "temperature": temperature}
            builder.add("vanilla", [test, test + 0.02], [val] * 2, hyperparameters=given)
    for alpha in (0.0, 0.5):
        builder.add(
            "nuclear_norm", [0.5 + alpha, None], [0.5 + alpha] * 2, hyperparameters={"alpha": alpha, "beta": 1.0}
        )
    return builder


def _tables(builder, frame=None):
    made = build_tables(builder.index, builder.frame if frame is None else frame)
    return {table.name: table for table in made if table.name.startswith("alpha")}


def _shown(table):
    return [[cell.display for cell in row] for row in table.rows]


def test_one_table_per_label_and_one_that_compares_them(swept) -> None:
    assert list(_tables(swept)) == [f"alpha-{STEM}", f"alpha-vanilla-{STEM}", f"alpha-nuclear_norm-{STEM}"]


def test_every_metric_by_alpha_in_groups(swept) -> None:
    table = _tables(swept)[f"alpha-vanilla-{STEM}"]
    assert [column.full_title for column in table.columns] == [
        *("temperature", "alpha", "test: accuracy (%)", "test: F1 (%)", "test: precision (%)", "test: recall (%)"),
        *("validation: accuracy (%)", "gain over scratch"),
    ]
    assert [row[:2] for row in _shown(table)] == [["2", "0"], ["2", "0.5"], ["5", "0"], ["5", "0.5"]]
    scores = ["73.00 ± 1.41", "72.00 ± 1.41", "71.00 ± 1.41", "70.00 ± 1.41"]
    assert _shown(table)[0][2:] == [*scores, "58.00 ± 0.00", f"{MINUS}8.00 [{MINUS}8.05, {MINUS}7.95]"]
    assert [column.hides_repeats for column in table.columns[:3]] == [True, False, False]
    assert table.configurations == ("vanilla: alpha = 0, temperature = 2",)


def test_bold_is_the_configuration_chosen_on_validation_not_on_test(swept) -> None:
    table = _tables(swept)[f"alpha-vanilla-{STEM}"]
    assert [[cell.is_bold for cell in row] for row in table.rows] == [[False, *[True] * 7], *[[False] * 8] * 3]
    assert "Bold: the chosen configuration" in table.caption
    assert "chosen by mean validation accuracy; the test set is not used" in table.caption


def test_labels_side_by_side_at_the_chosen_temperature(swept) -> None:
    table = _tables(swept)[f"alpha-{STEM}"]
    assert [column.full_title for column in table.columns] == [
        *("alpha", "test accuracy (%): vanilla", "test accuracy (%): nuclear_norm"),
    ]
    assert _shown(table) == [["0", "73.00 ± 1.41", "50.00 (n=1)†"], ["0.5", "78.00 ± 1.41", "100.00 (n=1)†"]]
    assert [[cell.is_chosen for cell in row] for row in table.rows] == [[False, True, False], [False, False, True]]
    assert table.configurations == ("vanilla: alpha = 0, temperature = 2", "nuclear_norm: alpha = 0.5, beta = 1")
    assert "The other hyperparameters are those of the chosen configuration." in table.caption


def test_without_validation_nothing_is_bold_and_every_temperature_has_a_column(swept) -> None:
    swept.validation = 0.0
    made = _tables(swept, swept.frame.drop(columns=["val_accuracy"]))
    comparison, single = made[f"alpha-{STEM}"], made[f"alpha-vanilla-{STEM}"]
    assert [column.title for column in comparison.columns[1:]] == [
        *("vanilla (temperature = 2)", "vanilla (temperature = 5)", "nuclear_norm"),
    ]
    assert not any(cell.is_bold for table in made.values() for row in table.rows for cell in row)
    assert "chosen" not in comparison.caption + single.caption
    assert "validation: accuracy (%)" not in [column.full_title for column in single.columns]
    assert comparison.configurations == ("nuclear_norm: beta = 1 in all rows",)


def test_labels_with_different_alphas_are_not_compared(swept) -> None:
    for alpha in (0.1, 0.2):
        swept.add("other", [0.5, 0.6], hyperparameters={"alpha": alpha})
    made = _tables(swept)
    assert [column.title for column in made[f"alpha-{STEM}"].columns[1:]] == ["vanilla", "nuclear_norm"]
    assert f"alpha-other-{STEM}" in made


def test_without_scratch_or_agreement_their_columns_are_left_out(builder) -> None:
    for alpha in (0.1, 0.2):
        builder.add("m", [0.5], hyperparameters={"alpha": alpha})
    (table,) = _tables(builder).values()
    assert [column.full_title for column in table.columns][-1] == "validation: accuracy (%)"


def test_an_alpha_that_the_chosen_configuration_does_not_have(builder) -> None:
    for label in ("a", "b"):
        for alpha, t in ((0.1, 2), (0.2, 2), (0.2, 5)):
            builder.add(label, [0.5], [alpha + t / 10], hyperparameters={"alpha": alpha, "t": t})
    assert _shown(_tables(builder)[f"alpha-{STEM}"]) == [["0.1", DASH, DASH], ["0.2", "50.00", "50.00"]]
