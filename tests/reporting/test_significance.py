"""Comparisons of rows, and the sentences about bold, gains and resolution."""

import csv
import io
import math
import re

import numpy as np
import pytest

from kdbench.analysis import Comparison, Interval, detectable_difference, visible_difference
from kdbench.errors import ReportError
from kdbench.reporting import build_tables, to_frame
from kdbench.reporting.formats.csv_file import render_csv
from kdbench.reporting.formats.latex import render_latex
from kdbench.reporting.matrix_results import MatrixResults
from kdbench.reporting.significance import ColumnComparison, describe_bold, describe_gains, make_notes, measure_cells
from kdbench.reporting.table import MINUS, POINTS, TableCell

NOT_FINITE = "epoch 1: loss became NaN or infinite"


def _noise(seeds: int, number: int) -> np.ndarray:
    return 0.002 * np.random.default_rng(number).standard_normal(seeds)


def _fill(builder, seeds: int, pair: tuple[str, str, str] = ("cifar10", "t", "s")):
    builder.add("scratch", list(0.9 + _noise(seeds, 0)), kind="scratch", pair=pair)
    for number, (label, mean) in enumerate({"good": 0.95, "as_good": 0.9495, "worse": 0.92}.items(), start=1):
        builder.add(label, list(mean + _noise(seeds, number)), pair=pair)
    return builder


def _accuracy(builder):
    return build_tables(builder.index, builder.frame)[0]


def _bold(table):
    return [row[0].text for row in table.rows if row[1].is_bold]


def test_from_five_seeds_on_bold_is_the_best_and_what_cannot_be_excluded(builder) -> None:
    table = _accuracy(_fill(builder, 5))
    assert _bold(table) == ["good", "as_good"]
    assert (
        "Bold: the student with the highest mean and all that cannot be excluded from being the best (paired "
        "comparisons by steps over 5 common seeds; family-wise error of a column 5 %). Gain"
    ) in table.caption
    assert "chance" not in table.caption
    (note,) = [note for note in table.notes if note.startswith("Resolution")]
    assert re.fullmatch(
        r"Resolution: 5 seeds see a difference of \d\.\d\d points between two of 4 students with 80 % power; half a "
        r"point needs \d+ seeds \(the paired spread on one seed is 0\.\d\d points\)\.",
        note,
    )


def test_with_two_to_four_seeds_bold_is_the_highest_mean_and_the_caption_has_the_visible_difference(builder) -> None:
    table = _accuracy(_fill(builder, 3))
    assert len(_bold(table)) == 1
    results = MatrixResults(builder.index, builder.frame, "last")
    spread = measure_cells(results, builder.cells, "test_accuracy").comparison.spread
    visible = 100 * visible_difference(spread, 3, 4, 10_000)
    assert (
        "Bold: the highest mean alone, since nothing is tested with fewer than 5 common seeds. 3 seeds: differences "
        f"under {visible:.2f} points cannot be distinguished from chance. Gain"
    ) in table.caption
    seen = f"{100 * detectable_difference(spread, 5, 4, 10_000):.2f} points"
    assert any(
        note.startswith(f"Resolution: a test needs 5 seeds, which see a difference of {seen}") for note in table.notes
    )


def test_students_with_equal_scores_on_every_seed_have_no_resolution(builder) -> None:
    """Such as vanilla with alpha = 0, which trains like the student from scratch."""
    builder.add("scratch", [0.5, 0.6, 0.7], kind="scratch")
    builder.add("vanilla", [0.5, 0.6, 0.7])
    table = _accuracy(builder)
    assert "Resolution: unknown, since all students have equal scores on every seed." in table.notes
    assert "chance" not in table.caption


def test_one_seed_has_neither_interval_nor_test_nor_resolution(builder) -> None:
    table = _accuracy(_fill(builder, 1))
    assert len(_bold(table)) == 1
    assert "Bold: the highest score alone; one seed shows no spread" in table.caption
    assert "in percentage points; one common seed gives no interval." in table.caption
    assert "Resolution: unknown, since one seed shows no spread." in table.notes
    assert not any("[" in cell.display or "±" in cell.display for row in table.rows for cell in row)


def test_columns_with_different_numbers_of_seeds_are_described_apart(builder) -> None:
    _fill(builder, 6, ("a", "t", "s"))
    _fill(builder, 3, ("b", "t", "s"))
    builder.add("good", [0.5], pair=("c", "t", "s"))
    table = _accuracy(builder)
    bold = table.caption.partition("Bold: ")[2]
    assert re.search(r"all that cannot be excluded .* over 6 common seeds; [^)]*\) \(a: t → s\)\. ", bold)
    assert re.search(
        r"3 seeds: differences under \d\.\d\d points cannot be distinguished from chance \(b: t → s\)\. ", bold
    )
    assert bold.count("the only student with a score that can be compared (c: t → s).") == 1
    assert [note.partition(":")[0] for note in table.notes if note.startswith("Resolution")] == [
        "Resolution (a",
        "Resolution (b",
    ]


def test_a_row_with_a_failed_seed_is_marked_and_never_bold(builder) -> None:
    _fill(builder, 5)
    builder.add("diverged", [0.99, 0.99, 0.99, 0.99, NOT_FINITE], pair=("cifar10", "t", "s"))
    table = _accuracy(builder)
    assert _bold(table) == ["good", "as_good"]
    assert table.rows[-1][1].display == "99.00 ± 0.00 (1 of 5 diverged)†‡"
    assert "‡ not compared with the best: a seed failed, or the row has fewer seeds than others." in table.notes
    assert "between two of 4 students" in "".join(table.notes)
    assert "$^{\\ddagger}$" in render_latex(table)


def test_gains_have_intervals_in_every_format(builder) -> None:
    table = _accuracy(_fill(builder, 4))
    interval = table.rows[1][2].interval
    assert table.rows[1][2].display == f"{POINTS.format(table.rows[1][2].mean)} " + (
        f"[{100 * interval.low:.2f}, {100 * interval.high:.2f}]"
    )
    frame = to_frame(table)
    assert frame.loc["good", "gain over scratch, 95 % low"] == pytest.approx(100 * interval.low)
    assert math.isnan(frame.loc["student from scratch", "gain over scratch, 95 % high"])
    assert not any("%" in name and "low" in name and "gain" not in name for name in frame.columns)
    (_, line, *_), titles = (rows := list(csv.DictReader(io.StringIO(render_csv(table))))), list(rows[0])
    assert titles[5:10] == [f"gain over scratch{end}" for end in ("", ", std", ", 95 % low", ", 95 % high", ", n")]
    assert float(line["gain over scratch, 95 % high"]) == pytest.approx(100 * interval.high)
    assert rows[0]["gain over scratch, 95 % low"] == ""
    assert f"{{[}}{100 * interval.low:.2f}, {100 * interval.high:.2f}{{]}}" in render_latex(table).replace("]", "{]}")


def test_gains_of_rows_with_one_common_seed_have_no_interval_and_the_caption_says_so() -> None:
    with_interval = TableCell(mean=0.01, std=0.02, interval=Interval(-0.01, 0.03), n=3, unit=POINTS)
    without = TableCell(mean=0.01, n=1, unit=POINTS)
    assert with_interval.display == f"+1.00 [{MINUS}1.00, 3.00]"
    assert describe_gains([with_interval]).endswith("in brackets (paired t; each gain alone).")
    assert describe_gains([with_interval, without]).endswith("each gain alone; none with one common seed).")
    assert describe_gains([TableCell("pending", is_missing=True)]) == ""


def test_too_few_test_images_and_no_spread() -> None:
    columns = [ColumnComparison("x", Comparison("a", (), (), 5, 3, spread), 50) for spread in (0.0, 0.01)]
    assert "half a point needs more images" in make_notes(columns)[0]
    assert describe_bold([ColumnComparison("x", Comparison(), 0)]) == ""
    assert make_notes([ColumnComparison("x", Comparison("a", (), (), 5, 1), 50)]) == ()


def test_an_index_without_test_images_is_an_error(builder) -> None:
    _fill(builder, 2).trainings = {}
    with pytest.raises(ReportError, match="does not say how many test images 'cifar10' has; run `kdbench run "):
        _accuracy(builder)


def test_an_incompatible_pair_of_a_sweep_has_no_resolution(builder) -> None:
    for value in (1, 2):
        builder.add("a", [0.5, 0.5 + value / 100], pair=("x", "t", "s"), hyperparameters={"beta": value})
    builder.add("b", [0.5, 0.6], pair=("y", "t", "s"))
    builder.add_incompatible("a", "no", pair=("y", "t", "s"))
    tables = {table.name: table for table in build_tables(builder.index, builder.frame)}
    (note,) = [note for note in tables["configurations-a"].notes if note.startswith("Resolution")]
    assert "between two of 2 configurations" in note


def test_every_table_of_scores_has_its_resolution(thesis) -> None:
    builder = thesis()
    for table in build_tables(builder.index, builder.frame):
        compares = table.name.startswith(("accuracy", "metrics", "alpha", "configurations"))
        assert any(note.startswith("Resolution") for note in table.notes) == compares, table.name
