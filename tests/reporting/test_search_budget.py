"""The number of configurations that each row tried."""

from kdbench.reporting import build_tables
from kdbench.reporting.search_budget import UNEQUAL

OTHER = ("mnist", "resnet34", "resnet18")


def _tried(builder):
    table = build_tables(builder.index, builder.frame)[0]
    position = next((n for n, one in enumerate(table.columns) if "tried" in one.title), None)
    shown = None if position is None else [row[position].text for row in table.rows]
    return shown, UNEQUAL in table.footnotes


def test_without_a_search_there_is_no_column(builder) -> None:
    builder.add("scratch", [0.5], kind="scratch")
    builder.add("a", [0.5])
    assert _tried(builder) == (None, False)


def test_unequal_budgets_are_footnoted(builder) -> None:
    builder.add("teacher", [0.5], kind="teacher")
    builder.add("scratch", [0.5], kind="scratch")
    for alpha in (0.1, 0.2, 0.3):
        builder.add("a", [0.5], hyperparameters={"alpha": alpha})
    assert _tried(builder) == (["", "1", "3"], True)


def test_equal_budgets_are_not(builder) -> None:
    for value in (1, 2):
        builder.add("scratch", [0.5], kind="scratch", hyperparameters={"recipe.optimizer.lr": value})
        builder.add("a", [0.5], hyperparameters={"recipe.optimizer.lr": value})
    assert _tried(builder) == (["2", "2"], False)


def test_pairs_may_differ(builder) -> None:
    builder.add("a", [0.5], hyperparameters={"x": 1})
    builder.add("a", [0.5], hyperparameters={"x": 2})
    builder.add("a", [0.5], pair=OTHER)
    assert _tried(builder) == (["1 to 2"], True)
    builder.add_incompatible("b", "no")
    assert _tried(builder)[0] == ["1 to 2", ""]
