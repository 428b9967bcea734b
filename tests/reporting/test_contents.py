"""All tables together."""

import subprocess
import sys

import numpy as np
import pandas as pd

from kdbench.reporting import tables


def test_the_order_of_tables(thesis) -> None:
    world = thesis()
    assert [table.name for table in tables(world.index, world.frame)] == [
        "accuracy",
        "metrics-cifar10-resnet34-resnet18",
        "costs-cifar10-resnet34-resnet18",
        "alpha-vanilla-cifar10-resnet34-resnet18",
        *("hyperparameters", "incompatible", "failed", "pending"),
    ]


def test_every_row_has_a_cell_a_column(thesis) -> None:
    world = thesis((("a", "t", "s"), ("b", "t", "s")))
    for table in tables(world.index, world.frame):
        assert {len(row) for row in table.rows} == {len(table.columns)}


def test_shuffled_test_scores_leave_every_choice_as_it_was(thesis) -> None:
    world = thesis()
    shuffled = world.frame.copy()
    for place, column in enumerate(c for c in shuffled if c.startswith("test_")):
        shuffled[column] = np.random.default_rng(place).permutation(shuffled[column])

    def chosen(frame: pd.DataFrame) -> list[list[str]]:
        table = next(t for t in tables(world.index, frame) if t.name == "hyperparameters")
        return [[cell.shown for cell in row] for row in table.rows]

    assert not shuffled["test_accuracy"].equals(world.frame["test_accuracy"])
    assert chosen(shuffled) == chosen(world.frame)


def test_a_matrix_that_has_not_started(world) -> None:
    world.add("a", [None, None])
    made = {table.name: table for table in tables(world.index, pd.DataFrame())}
    assert [cell.shown for cell in made["accuracy"].rows[0]] == ["a", "pending", "", "pending"]
    assert made["pending"].rows[0][-1].text == "2 of 2 seeds"


def test_the_frame_is_not_changed(thesis) -> None:
    world = thesis()
    frame = world.frame
    before = frame.copy()
    tables(world.index, frame)
    pd.testing.assert_frame_equal(frame, before)


def test_import_loads_neither_torch_nor_pandas_nor_scipy() -> None:
    code = "import sys, kdbench.reporting; print([m for m in ('torch', 'pandas', 'scipy') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
