"""Table 4, cell by cell."""

from kdbench.reporting import tables
from kdbench.reporting.table import NOTHING
from kdbench.results.index import ExcludedCell, IndexCell


def _gaps(world):
    made = tables(world.index, world.frame)
    return {
        t.name: [tuple(cell.shown for cell in row) for row in t.rows] for t in made[2:] if "pair" in t.columns[1].title
    }


PAIR, OTHER = ("cifar10", "resnet34", "resnet18"), ("cifar10", "wrn", "tiny")
WHERE = "cifar10: resnet34 → resnet18"


def test_impossible_failed_and_waiting(thesis) -> None:
    found = _gaps(thesis())
    assert found["incompatible"] == [("fsp", WHERE, "fsp needs stages of equal height | width")]
    assert found["failed"] == [
        ("half", WHERE, NOTHING, "2", "CUDA error: x_y"),
        *[("broken", WHERE, NOTHING, seed, "loss is NaN in epoch 3") for seed in "012"],
    ]
    assert found["pending"] == [
        ("half", WHERE, NOTHING, "1 of 3 seeds"),
        ("later", WHERE, NOTHING, "3 of 3 seeds"),
    ]


def test_what_the_matrix_leaves_out_is_listed_and_noted(thesis) -> None:
    world = thesis(pairs=(PAIR, OTHER))
    world.add("mine", [0.5] * 3, pair=PAIR)
    world.excluded.append(ExcludedCell("mine", *OTHER, seeds=(0, 1, 2), why="one pair is enough"))
    assert _gaps(world)["excluded"] == [("mine", "cifar10: wrn → tiny", "0, 1, 2", "one pair is enough")]
    (accuracy, *_) = tables(world.index, world.frame)
    (mine,) = [row for row in accuracy.rows if row[0].shown == "mine"]
    assert mine[2].shown == NOTHING
    assert f"{NOTHING} the matrix leaves this cell out; the report says why." in accuracy.notes


def test_what_waits_for_a_failed_run_is_explained(thesis, world) -> None:
    world.add("later", [None])
    (waiting,) = [table for table in tables(world.index, world.frame) if table.name == "pending"]
    assert waiting.caption.endswith("Run the same command again to go on.")
    (waiting,) = [table for table in tables(thesis().index, thesis().frame) if table.name == "pending"]
    assert waiting.caption.endswith("goes on once the folder of that run has been removed.")


def test_nothing_missing_no_table(world) -> None:
    world.add("a", [0.5])
    assert _gaps(world) == {}


def test_a_run_that_two_pairs_share_is_listed_once(world) -> None:
    first = world.add("scratch", ["boom", None], kind="scratch", pair=("a", "t", "s"))
    world.cells.append(IndexCell("scratch", "scratch", "a", "u", "s", "scratch", {}, first.runs))
    assert _gaps(world) == {
        "failed": [("student from scratch", "a: t → s", NOTHING, "0", "boom")],
        "pending": [("student from scratch", "a: t → s", NOTHING, "1 of 2 seeds")],
    }


def test_one_run_is_one_seed(world) -> None:
    world.add("teacher", [None], kind="teacher")
    assert _gaps(world)["pending"] == [("teacher", WHERE, NOTHING, "1 of 1 seed")]


def test_reasons_are_not_repeated(world) -> None:
    for _ in range(3):
        world.refuse("a", "too small")
    assert _gaps(world)["incompatible"] == [("a", WHERE, "too small")]
