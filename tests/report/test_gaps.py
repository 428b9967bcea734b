"""Table 4, cell by cell."""

from kdbench.report import tables
from kdbench.report.table import NOTHING
from kdbench.results.index import IndexCell


def _gaps(world):
    made = tables(world.index, world.frame)
    return {
        t.name: [tuple(cell.shown for cell in row) for row in t.rows] for t in made[2:] if "pair" in t.columns[1].title
    }


WHERE = "cifar10: resnet34 → resnet18"


def test_impossible_failed_and_waiting(thesis) -> None:
    found = _gaps(thesis())
    assert found["impossible"] == [("fsp", WHERE, "fsp needs stages of equal height | width")]
    assert found["failed"] == [
        ("half", WHERE, NOTHING, "2", "CUDA error: x_y"),
        *[("broken", WHERE, NOTHING, seed, "loss is NaN in epoch 3") for seed in "012"],
    ]
    assert found["waiting"] == [
        ("half", WHERE, NOTHING, "1 of 3 seeds"),
        ("later", WHERE, NOTHING, "3 of 3 seeds"),
    ]


def test_nothing_missing_no_table(world) -> None:
    world.add("a", [0.5])
    assert _gaps(world) == {}


def test_a_run_that_two_pairs_share_is_listed_once(world) -> None:
    first = world.add("scratch", ["boom", None], kind="scratch", pair=("a", "t", "s"))
    world.cells.append(IndexCell("scratch", "scratch", "a", "u", "s", "scratch", {}, first.runs))
    assert _gaps(world) == {
        "failed": [("student from scratch", "a: t → s", NOTHING, "0", "boom")],
        "waiting": [("student from scratch", "a: t → s", NOTHING, "1 of 2 seeds")],
    }


def test_one_run_is_one_seed(world) -> None:
    world.add("teacher", [None], kind="teacher")
    assert _gaps(world)["waiting"] == [("teacher", WHERE, NOTHING, "1 of 1 seed")]


def test_reasons_are_not_repeated(world) -> None:
    for _ in range(3):
        world.refuse("a", "too small")
    assert _gaps(world)["impossible"] == [("a", WHERE, "too small")]
