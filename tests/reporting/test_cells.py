"""From runs to a cell with its flags."""

from kdbench.reporting.cells import column, gain, number
from kdbench.reporting.rows import Choice, rows
from kdbench.reporting.runs import Runs
from kdbench.reporting.table import NOTHING, PERCENT, POINTS


def _one(world, *scores):
    cell = world.add("a", list(scores))
    runs = Runs(world.index, world.frame, "last")
    return number(runs, Choice((cell,), cell), "test_accuracy", PERCENT)


def test_a_complete_cell(world) -> None:
    cell = _one(world, 0.5, 0.6, 0.7)
    assert (cell.shown, cell.n, cell.incomplete) == ("60.00 ± 10.00", 3, False)


def test_an_incomplete_cell_is_flagged_with_its_runs(world) -> None:
    cell = _one(world, 0.5, 0.7, None)
    assert (cell.shown, cell.n, cell.incomplete) == ("60.00 ± 14.14 (n=2)†", 2, True)


def test_missing_cells_say_why(world) -> None:
    assert _one(world, "boom", "boom").shown == "failed"
    assert _one(world, "boom", None).shown == "pending"
    assert _one(world, float("nan")).shown == NOTHING
    runs = Runs(world.index, world.frame, "last")
    assert number(runs, Choice(incompatible=True), "test_accuracy", PERCENT).shown == "n/a"
    assert number(runs, Choice(), "test_accuracy", PERCENT).missing


def test_the_teacher_is_never_the_best(thesis) -> None:
    world = thesis()
    runs = Runs(world.index, world.frame, "last")
    made = column(runs, rows(runs), runs.pairs[0], "test_accuracy", PERCENT)
    assert made[0].mean == 0.95
    assert max(cell.mean for cell in made[1:] if cell.mean is not None) < 0.95
    assert [place for place, cell in enumerate(made) if cell.best] == [3]
    assert [place for place, cell in enumerate(made) if cell.tied] == [2]  # 4 has one seed: it cannot be tested


def test_a_gain_is_the_mean_of_paired_differences(world) -> None:
    scratch, method = world.add("s", [0.5, 0.6, 0.7]), world.add("m", [0.52, None, 0.74])
    runs = Runs(world.index, world.frame, "last")
    cell = gain(runs, Choice((method,), method), Choice((scratch,), scratch), "test_accuracy", POINTS)
    assert cell.shown == "+3.00 ± 1.41 (n=2)†"
    assert gain(runs, Choice((method,), method), Choice(), "test_accuracy", POINTS).mean is None
