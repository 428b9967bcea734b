"""The tables of what is missing, cell by cell."""

from kdbench.reporting import build_tables
from kdbench.reporting.table import DASH
from kdbench.results.index import ExcludedCell, IndexCell


def _missing(builder):
    made = build_tables(builder.index, builder.frame)
    return {
        t.name: [tuple(cell.display for cell in row) for row in t.rows]
        for t in made[2:]
        if "pair" in t.columns[1].title
    }


PAIR, OTHER = ("cifar10", "resnet34", "resnet18"), ("cifar10", "wrn", "tiny")
NOT_FINITE = "epoch 3: loss.ce became NaN or infinite"
WHERE = "cifar10: resnet34 → resnet18"


def test_incompatible_failed_and_pending(thesis) -> None:
    made = thesis()
    found = _missing(made)
    ids = {(cell.label, seed): run[:8] for cell in made.cells for seed, run in cell.runs.items()}
    assert found["incompatible"] == [("fsp", WHERE, "fsp needs stages of equal height | width")]
    assert found["failed"] == [
        ("half", WHERE, DASH, "2", ids["half", "2"], "CUDA error: x_y"),
        *[
            ("broken", WHERE, DASH, seed, ids["broken", seed], "epoch 3: loss.ce became NaN or infinite")
            for seed in "012"
        ],
    ]
    assert found["pending"] == [
        ("half", WHERE, DASH, "1 of 3 seeds"),
        ("later", WHERE, DASH, "3 of 3 seeds"),
    ]


def test_excluded_cells_are_listed_and_noted(thesis) -> None:
    builder = thesis(pairs=(PAIR, OTHER))
    builder.add("mine", [0.5] * 3, pair=PAIR)
    builder.excluded.append(ExcludedCell("mine", *OTHER, seeds=(0, 1, 2), why="one pair is enough"))
    assert _missing(builder)["excluded"] == [("mine", "cifar10: wrn → tiny", "0, 1, 2", "one pair is enough")]
    (accuracy, *_) = build_tables(builder.index, builder.frame)
    (mine,) = [row for row in accuracy.rows if row[0].display == "mine"]
    assert mine[2].display == DASH
    assert f"{DASH}: excluded by the matrix; the report gives the reason." in accuracy.notes


def test_the_caption_names_the_command_for_runs_blocked_by_a_failed_run(thesis, builder) -> None:
    builder.add("later", [None])
    (pending,) = [table for table in build_tables(builder.index, builder.frame) if table.name == "pending"]
    assert pending.caption.endswith("Rerun the same command to continue.")
    (pending,) = [table for table in build_tables(thesis().index, thesis().frame) if table.name == "pending"]
    assert pending.caption.endswith("which may block others: kdbench retry thesis")


def test_no_table_if_nothing_is_missing(builder) -> None:
    builder.add("a", [0.5])
    assert _missing(builder) == {}


def test_a_run_shared_by_two_pairs_is_listed_once(builder) -> None:
    first = builder.add("scratch", ["boom", None], kind="scratch", pair=("a", "t", "s"))
    builder.cells.append(IndexCell("scratch", "scratch", "a", "u", "s", "scratch", {}, first.runs))
    assert _missing(builder) == {
        "failed": [("student from scratch", "a: t → s", DASH, "0", first.runs["0"][:8], "boom")],
        "pending": [("student from scratch", "a: t → s", DASH, "1 of 2 seeds")],
    }


def test_one_run_is_one_seed(builder) -> None:
    builder.add("teacher", [None], kind="teacher")
    assert _missing(builder)["pending"] == [("teacher", WHERE, DASH, "1 of 1 seed")]


def test_a_reason_is_listed_once(builder) -> None:
    for _ in range(3):
        builder.add_incompatible("a", "too small")
    assert _missing(builder)["incompatible"] == [("a", WHERE, "too small")]
