"""All tables together."""

import subprocess
import sys

import numpy as np
import pandas as pd

from kdbench.reporting import build_tables


def test_the_order_of_tables(thesis) -> None:
    builder = thesis()
    assert [table.name for table in build_tables(builder.index, builder.frame)] == [
        "accuracy",
        "metrics-cifar10-resnet34-resnet18",
        "costs-cifar10-resnet34-resnet18",
        "alpha-vanilla-cifar10-resnet34-resnet18",
        *("hyperparameters", "incompatible", "failed", "pending"),
    ]


def test_every_row_has_one_cell_per_column(thesis) -> None:
    builder = thesis((("a", "t", "s"), ("b", "t", "s")))
    for table in build_tables(builder.index, builder.frame):
        assert {len(row) for row in table.rows} == {len(table.columns)}


def test_shuffled_test_scores_do_not_change_the_choice(thesis) -> None:
    builder = thesis()
    shuffled = builder.frame.copy()
    for index, column in enumerate(c for c in shuffled if c.startswith("test_")):
        shuffled[column] = np.random.default_rng(index).permutation(shuffled[column])

    def chosen(frame: pd.DataFrame) -> list[list[str]]:
        table = next(t for t in build_tables(builder.index, frame) if t.name == "hyperparameters")
        return [[cell.display for cell in row] for row in table.rows]

    assert not shuffled["test_accuracy"].equals(builder.frame["test_accuracy"])
    assert chosen(shuffled) == chosen(builder.frame)


def test_a_matrix_that_has_not_started(builder) -> None:
    builder.add("a", [None, None])
    made = {table.name: table for table in build_tables(builder.index, pd.DataFrame())}
    assert [cell.display for cell in made["accuracy"].rows[0]] == ["a", "pending", "", "pending"]
    assert made["pending"].rows[0][-1].text == "2 of 2 seeds"


def test_the_frame_is_not_changed(thesis) -> None:
    builder = thesis()
    frame = builder.frame
    before = frame.copy()
    build_tables(builder.index, frame)
    pd.testing.assert_frame_equal(frame, before)


def test_the_import_does_not_load_torch_pandas_or_scipy() -> None:
    code = "import sys, kdbench.reporting; print([m for m in ('torch', 'pandas', 'scipy') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
