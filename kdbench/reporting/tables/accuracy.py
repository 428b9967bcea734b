"""The accuracy table: test accuracy of all methods on all pairs."""

from collections.abc import Sequence
from dataclasses import replace

from kdbench.reporting import captions, significance
from kdbench.reporting.matrix_results import MatrixResults
from kdbench.reporting.metric_cells import agreement_cell, gain_cell, image_gain_cell, metric_column
from kdbench.reporting.mixed_environments import mixed_environment_notes
from kdbench.reporting.pair import Pair
from kdbench.reporting.predictions import prediction_notes
from kdbench.reporting.protocol import protocol_lines
from kdbench.reporting.row_notes import NotedRow, gain_footnotes, note_rows
from kdbench.reporting.rows import Row, find_baseline
from kdbench.reporting.search_budget import TRIED, count_tried, has_search, search_notes
from kdbench.reporting.table import PERCENT, POINTS, Column, Table, TableCell
from kdbench.results.index import IndexCell

OVER_IMAGES = (
    "Seeds and test images: the 95 % interval of the gain if the test images, too, were drawn again (hierarchical "
    "bootstrap)."
)


def accuracy_table(results: MatrixResults, rows: Sequence[Row]) -> Table:
    """Return test accuracy, one row per method and one column per pair.

    With one pair there are three more columns: gain over the student from scratch, its interval over seeds and test
    images, and agreement with the teacher.
    """
    pairs, accuracy = results.pairs, results.metric_column("test", "accuracy")
    has_one_pair = len(pairs) == 1
    columns = [_column(results, rows, pair) for pair in pairs]
    noted = note_rows(results, rows, pairs)
    cells = [_accuracies(results, rows, noted, pair) for pair in pairs]
    compared = [significance.compare_rows(results, rows, pair, accuracy, str(pair)) for pair in pairs]
    gains = _gains(results, rows, pairs[0]) if has_one_pair else []
    over_images = _gains_over_images(results, rows, pairs[0], gains) if has_one_pair else []
    if has_one_pair:
        columns.append(Column("gain over\nscratch", has_intervals=True))
        cells.append(gains)
    if over_images:
        columns.append(Column("gain, seeds and\ntest images", has_intervals=True))
        cells.append(over_images)
    if has_one_pair:
        columns.append(Column("agreement with\nteacher (%)"))
        cells.append(_agreement(results, rows, pairs[0]))
    if has_search(rows):
        columns.append(Column("tried", is_numeric=False, footnotes=search_notes(rows)))
        cells.append([TableCell(count_tried(row)) for row in rows])
    lines = tuple(zip([row.name for row in noted], *cells, strict=True))
    return Table(
        name="accuracy",
        title="Accuracy",
        caption=captions.join(
            captions.describe_numbers(results, "Test accuracy in %"),
            significance.describe_bold(compared),
            significance.describe_gains(gains),
            OVER_IMAGES if over_images else "",
            captions.describe_choice(results, rows),
            TRIED if has_search(rows) else "",
        ),
        columns=(Column("method", is_numeric=False), *columns),
        rows=lines,
        notes=(
            *captions.make_notes(results, rows, (cell for line in lines for cell in line)),
            *significance.make_notes(compared, lines),
            *(prediction_notes(results, _shown(rows, pairs[0])) if has_one_pair else ()),
        ),
        configurations=captions.list_configurations(rows, pairs),
        num_baselines=sum(row.kind != "method" for row in rows),
        protocol=protocol_lines(results, rows, pairs),
    )


def _column(results: MatrixResults, rows: Sequence[Row], pair: Pair) -> Column:
    notes = mixed_environment_notes(results, rows, pair)
    return Column(f"{pair.teacher} →\n{pair.student}", group=pair.dataset, footnotes=notes)


def _accuracies(results: MatrixResults, rows: Sequence[Row], noted: Sequence[NotedRow], pair: Pair) -> list[TableCell]:
    """Return the test accuracies on a pair, with the footnotes that hold on this pair alone."""
    cells = metric_column(results, rows, pair, results.metric_column("test", "accuracy"), PERCENT)
    return [replace(cell, footnotes=row.by_pair.get(pair, ())) for row, cell in zip(noted, cells, strict=True)]


def _gains(results: MatrixResults, rows: Sequence[Row], pair: Pair) -> list[TableCell]:
    scratch = find_baseline(rows, pair)
    accuracy = results.metric_column("test", "accuracy")
    return [
        TableCell()
        if scratch.chosen is None or row.kind != "method"
        else replace(
            gain_cell(results, row.choice_for(pair), scratch, accuracy, POINTS),
            footnotes=gain_footnotes(results, rows, row, pair),
        )
        for row in rows
    ]


def _gains_over_images(
    results: MatrixResults, rows: Sequence[Row], pair: Pair, gains: Sequence[TableCell]
) -> list[TableCell]:
    """Return the intervals of gains over seeds and test images; no cells if no row has one."""
    scratch = find_baseline(rows, pair)
    cells = [
        image_gain_cell(results, row.choice_for(pair), scratch, gain) for row, gain in zip(rows, gains, strict=True)
    ]
    return cells if any(cell.interval for cell in cells) else []


def _agreement(results: MatrixResults, rows: Sequence[Row], pair: Pair) -> list[TableCell]:
    """Return the share of test images for which student and teacher of a row predict the same class."""
    return [TableCell() if row.kind == "teacher" else agreement_cell(results, row.choice_for(pair)) for row in rows]


def _shown(rows: Sequence[Row], pair: Pair) -> list[IndexCell | None]:
    return [row.choice_for(pair).chosen for row in rows if row.kind != "teacher"]
