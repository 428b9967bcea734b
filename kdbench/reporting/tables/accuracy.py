"""The accuracy table: test accuracy of all methods on all pairs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import final

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
    images, and agreement with the teacher. With several pairs, `gains_tables` has them.
    """
    return _table(results, rows, results.pairs, "accuracy", "Accuracy")


def gains_tables(results: MatrixResults, rows: Sequence[Row]) -> Iterator[Table]:
    """Yield the accuracy table of each pair alone, with its gains, if there are several pairs."""
    for pair in results.pairs if len(results.pairs) > 1 else ():
        shown = [row for row in rows if pair in row.choices]
        yield _table(results, shown, (pair,), f"gains-{pair.file_stem}", f"Gains, {pair}")


def _table(results: MatrixResults, rows: Sequence[Row], pairs: tuple[Pair, ...], name: str, title: str) -> Table:
    noted = note_rows(results, rows, pairs)
    columns = [_column(results, rows, pair) for pair in pairs]
    cells = [_accuracies(results, rows, noted, pair) for pair in pairs]
    accuracy = results.metric_column("test", "accuracy")
    compared = [significance.compare_rows(results, rows, pair, accuracy, str(pair)) for pair in pairs]
    details = _PairColumns.of(results, rows, pairs[0]) if len(pairs) == 1 else _PairColumns()
    columns += details.columns
    cells += details.cells
    if has_search(rows):
        columns.append(Column("tried", is_numeric=False, footnotes=search_notes(rows)))
        cells.append([TableCell(count_tried(row)) for row in rows])
    lines = tuple(zip([row.name for row in noted], *cells, strict=True))
    return Table(
        name=name,
        title=title,
        caption=captions.join(
            captions.describe_numbers(results, "Test accuracy in %"),
            significance.describe_bold(compared),
            *details.sentences,
            captions.describe_choice(results, rows),
            TRIED if has_search(rows) else "",
        ),
        columns=(Column("method", is_numeric=False), *columns),
        rows=lines,
        notes=(
            *captions.make_notes(results, rows, (cell for line in lines for cell in line)),
            *significance.make_notes(compared, lines),
            *details.notes,
        ),
        configurations=captions.list_configurations(rows, pairs),
        num_baselines=sum(row.kind != "method" for row in rows),
        protocol=protocol_lines(results, rows, pairs),
    )


@final
@dataclass(frozen=True)
class _PairColumns:
    """The columns of a table of one pair beside the accuracy: gain, its interval over images, agreement."""

    columns: tuple[Column, ...] = ()
    cells: tuple[list[TableCell], ...] = ()
    sentences: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, results: MatrixResults, rows: Sequence[Row], pair: Pair) -> "_PairColumns":
        """Return the columns of a pair; that of the interval over images is left out if no row has one."""
        gains = _gains(results, rows, pair)
        over_images = _gains_over_images(results, rows, pair, gains)
        found = (
            (Column("gain over\nscratch", has_intervals=True), gains),
            *(((Column("gain, seeds and\ntest images", has_intervals=True), over_images),) if over_images else ()),
            (Column("agreement with\nteacher (%)"), _agreement(results, rows, pair)),
        )
        return cls(
            columns=tuple(column for column, _ in found),
            cells=tuple(cells for _, cells in found),
            sentences=(significance.describe_gains(gains), OVER_IMAGES if over_images else ""),
            notes=prediction_notes(results, _shown(rows, pair)),
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
