"""The accuracy table, cell by cell."""

from kdbench.reporting import build_tables
from kdbench.reporting.table import DASH, MINUS


def _accuracy(builder, selection="last"):
    return build_tables(builder.index, builder.frame, selection)[0]


def _shown(table):
    return {row[0].text: [cell.display for cell in row[1:]] for row in table.rows}


def test_one_pair_with_gain_and_agreement(thesis) -> None:
    table = _accuracy(thesis())
    assert [column.full_title for column in table.columns] == [
        "method",
        "cifar10: resnet34 → resnet18",
        "gain over scratch",
        "agreement with teacher (%)",
        "tried",
    ]
    assert _shown(table) == {
        "teacher": ["95.00", "", "", ""],
        "student from scratch": ["91.00 ± 1.00", "", "", "1"],
        "vanilla": ["93.10 ± 1.10", "+2.10 [1.85, 2.35]", "", "2"],
        "dkd": ["93.23 ± 1.17", "+2.23 [1.61, 2.86]", "", "1"],
        "half": ["89.00 (n=1, 1 failed)†‡", f"{MINUS}1.00 (n=1, 1 failed)†", "", "1"],
        "broken": [*["3 of 3 diverged"] * 3, "1"],
        "later": [*["pending"] * 3, "1"],
        "fsp": [*["n/a"] * 3, ""],
    }
    assert table.num_baselines == 2


def test_several_pairs_and_data_sets_are_columns(thesis) -> None:
    pairs = (("a", "t", "s"), ("b", "t", "s"), ("a", "u", "v"))
    table = _accuracy(thesis(pairs))
    assert [column.full_title for column in table.columns] == [
        *("method", "a: t → s", "a: u → v", "b: t → s"),
        "tried",
    ]
    assert _shown(table)["vanilla"] == ["93.10 ± 1.10", "73.10 ± 1.10", "83.10 ± 1.10", "2"]
    assert "Gain" not in table.caption


def test_a_pair_without_a_cell_of_the_label_shows_a_dash(builder) -> None:
    builder.add("a", [0.5], pair=("x", "t", "s"))
    builder.add("b", [0.5], pair=("y", "t", "s"))
    assert _shown(_accuracy(builder)) == {"a": ["50.00", DASH], "b": [DASH, "50.00"]}


def test_the_best_student_is_bold_beside_a_better_teacher(thesis) -> None:
    bold = [row[0].text for row in _accuracy(thesis()).rows if row[1].is_bold]
    assert bold == ["dkd"]  # three seeds are too few for a test


def test_scratch_is_bold_if_distillation_does_not_help(builder) -> None:
    builder.add("scratch", [0.9, 0.91, 0.92], kind="scratch")
    builder.add("a", [0.8, 0.811, 0.822])
    rows = _accuracy(builder).rows
    assert [(row[0].text, row[1].is_best, row[1].is_tied) for row in rows] == [
        ("student from scratch", True, False),
        ("a", False, False),
    ]


def test_one_seed_has_no_standard_deviation(builder) -> None:
    builder.add("teacher", [0.95], kind="teacher")
    builder.add("scratch", [0.9], kind="scratch")
    builder.add("a", [0.8])
    table = _accuracy(builder)
    assert _shown(table)["a"] == ["80.00", f"{MINUS}10.00", ""]
    assert not any("±" in text or "nan" in text for text in (table.caption, *table.notes))


def test_the_selection_determines_the_columns(thesis) -> None:
    table = _accuracy(thesis(), "best_validation")
    assert _shown(table)["teacher"] == ["95.10", "", "", ""]
    assert "selection: best validation epoch" in table.caption


def test_without_a_student_from_scratch_there_is_no_gain(builder) -> None:
    builder.add("a", [0.8])
    assert _shown(_accuracy(builder))["a"] == ["80.00", "", ""]


def test_with_several_pairs_each_has_a_table_of_its_gains(thesis) -> None:
    pairs = (("cifar10", "resnet34", "resnet18"), ("cifar100", "resnet34", "resnet18"))
    several, alone = thesis(pairs), thesis(pairs[:1])
    tables = {table.name: table for table in build_tables(several.index, several.frame)}
    assert not any("gain" in column.title for column in tables["accuracy"].columns)
    gains = tables["gains-cifar10-resnet34-resnet18"]
    (single, *_) = build_tables(alone.index, alone.frame)
    assert gains.columns == single.columns
    assert [[cell.display for cell in row] for row in gains.rows] == [
        [cell.display for cell in row] for row in single.rows
    ]
    assert "gains-cifar100-resnet34-resnet18" in tables
    assert not any(table.name.startswith("gains") for table in build_tables(alone.index, alone.frame))
