"""Tables by alpha: one table per label with all metrics, and one that compares labels with the same alphas."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from kdbench.formatting import format_value
from kdbench.reporting import captions, significance
from kdbench.reporting.alpha_sweep import AlphaSweep
from kdbench.reporting.configurations import Choice
from kdbench.reporting.matrix_results import MatrixResults
from kdbench.reporting.metric_cells import agreement_cell, gain_cell, metric_cell
from kdbench.reporting.pair import Pair
from kdbench.reporting.predictions import prediction_notes, teacher_agreement
from kdbench.reporting.row_notes import row_notes
from kdbench.reporting.rows import Row, find_baseline
from kdbench.reporting.table import DASH, PERCENT, POINTS, Column, Table, TableCell
from kdbench.reporting.tables.metrics import SCORES
from kdbench.results.index import IndexCell

OTHERS = "The other hyperparameters are those of the chosen configuration."


def alpha_tables(results: MatrixResults, rows: Sequence[Row], sweeps: Sequence[AlphaSweep]) -> Iterator[Table]:
    """Yield, pair by pair, the comparisons of labels with the same alphas, then one table per label."""
    for pair in dict.fromkeys(sweep.pair for sweep in sweeps):
        on_pair = [sweep for sweep in sweeps if sweep.pair == pair]
        for alphas in dict.fromkeys(sweep.alphas for sweep in on_pair):
            same = [sweep for sweep in on_pair if sweep.alphas == alphas]
            if len(same) > 1:
                yield _comparison(results, rows, pair, same)
        for sweep in on_pair:
            yield _label_table(results, rows, sweep)


def _baseline(rows: Sequence[Row], sweep: AlphaSweep) -> Choice:
    """Return the student from scratch on the seeds of the sweep; empty if it was not trained on search seeds."""
    baseline = find_baseline(rows, sweep.pair)
    if not sweep.choice.is_searched:
        return baseline
    candidate = baseline.chosen_candidate if baseline.is_searched else None
    return Choice() if candidate is None else Choice.of(candidate)


def _footnotes(results: MatrixResults, rows: Sequence[Row], sweep: AlphaSweep) -> tuple[str, ...]:
    """Return in what the label differs from the student from scratch, apart from its method."""
    return tuple(note.text for note in row_notes(results, rows, sweep.row, sweep.pair))


def _comparison(results: MatrixResults, rows: Sequence[Row], pair: Pair, sweeps: Sequence[AlphaSweep]) -> Table:
    """Return test accuracy, one row per alpha and one column per label."""
    curves = [(name, sweep, cells) for sweep in sweeps for name, cells in sweep.curves.items()]
    lines = tuple(
        (TableCell(format_value(alpha)), *(_accuracy(results, sweep, cells, alpha) for _, sweep, cells in curves))
        for alpha in sweeps[0].alphas
    )
    columns = [
        Column(
            name.replace(" + ", " +\n"),
            group="test accuracy (%)",
            footnotes=_footnotes(results, rows, sweep),
        )
        for name, sweep, _ in curves
    ]
    subject = f"{pair}. Test accuracy in % by alpha, the weight of the distillation term"
    others = OTHERS if any(sweep.has_hidden_configurations for sweep in sweeps) else ""
    return Table(
        name=f"alpha-{pair.file_stem}",
        title=f"Accuracy by alpha, {pair}",
        caption=_caption(results, subject, sweeps, others),
        columns=(Column("alpha", is_numeric=False, is_key=True), *columns),
        rows=lines,
        notes=_notes(results, sweeps, lines, [cell for _, _, cells in curves for cell in cells]),
        configurations=_configurations(sweeps),
    )


def _accuracy(results: MatrixResults, sweep: AlphaSweep, cells: Sequence[IndexCell], alpha: float) -> TableCell:
    cell = next((cell for cell in cells if sweep.alpha_of(cell) == alpha), None)
    if cell is None:
        return TableCell(DASH, is_missing=True)
    accuracy = metric_cell(results, Choice.of(cell), results.metric_column("test", "accuracy"), PERCENT)
    return replace(accuracy, is_chosen=cell is sweep.choice.chosen_candidate)


def _label_table(results: MatrixResults, rows: Sequence[Row], sweep: AlphaSweep) -> Table:
    """Return all metrics of a label, one row per configuration."""
    scratch = _baseline(rows, sweep)
    lines = tuple(
        (*map(TableCell, other_values), *_line(results, sweep, cell, scratch))
        for other_values, cells in sweep.groups.items()
        for cell in cells
    )
    gains = [cell for line in lines for cell in line if cell.unit == POINTS]
    subject = (
        f"{sweep.label} by {sweep.alpha_name}, {sweep.pair}. Metrics in % (F1, precision and recall are macro averages)"
    )
    keys = [Column(name, is_numeric=False, hides_repeats=True) for name in sweep.other_names]
    footnotes = _footnotes(results, rows, sweep)
    alpha = Column(sweep.alpha_name, is_numeric=False, is_key=True, footnotes=footnotes)
    return Table(
        name=f"alpha-{sweep.label}-{sweep.pair.file_stem}",
        title=f"{sweep.label} by alpha, {sweep.pair}",
        caption=_caption(results, subject, [sweep], significance.describe_gains(gains)),
        columns=(*keys, alpha, *_metric_columns(results, sweep, scratch)),
        rows=lines,
        notes=(
            *_notes(results, [sweep], lines, sweep.choice.candidates),
            *prediction_notes(results, sweep.choice.candidates),
        ),
        configurations=_configurations([sweep]),
    )


def _metric_columns(results: MatrixResults, sweep: AlphaSweep, scratch: Choice) -> Iterator[Column]:
    yield from (Column(title, group="test") for title in SCORES)
    if results.index.validation > 0:
        yield Column("accuracy\n(%)", group="validation")
    if scratch.chosen:
        yield Column("gain over\nscratch", has_intervals=True)
    if _has_agreement(results, sweep):
        yield Column("agreement\n(%)")


def _line(results: MatrixResults, sweep: AlphaSweep, cell: IndexCell, scratch: Choice) -> Iterator[TableCell]:
    is_chosen = cell is sweep.choice.chosen_candidate
    yield TableCell(format_value(sweep.alpha_of(cell)), is_chosen=is_chosen)
    for metric in _metric_cells(results, sweep, cell, scratch):
        yield replace(metric, is_chosen=is_chosen)


def _has_agreement(results: MatrixResults, sweep: AlphaSweep) -> bool:
    return any(len(teacher_agreement(results, cell)) for cell in sweep.choice.candidates)


def _metric_cells(results: MatrixResults, sweep: AlphaSweep, cell: IndexCell, scratch: Choice) -> Iterator[TableCell]:
    choice, accuracy = Choice.of(cell), results.metric_column("test", "accuracy")
    for metric in SCORES.values():
        yield metric_cell(results, choice, results.metric_column("test", metric), PERCENT)
    if results.index.validation > 0:
        yield metric_cell(results, choice, results.metric_column("val", "accuracy"), PERCENT)
    if scratch.chosen:
        yield gain_cell(results, choice, scratch, accuracy, POINTS)
    if _has_agreement(results, sweep):
        yield agreement_cell(results, choice)


def _caption(results: MatrixResults, subject: str, sweeps: Sequence[AlphaSweep], more: str) -> str:
    rows = [sweep.row for sweep in sweeps if sweep.choice.chosen]
    bold, choice = (captions.BOLD_CHOSEN, captions.describe_choice(results, rows)) if rows else ("", "")
    is_search = any(sweep.choice.is_searched for sweep in sweeps)
    return captions.join(captions.describe_numbers(results, subject, is_search), more, bold, choice)


def _notes(
    results: MatrixResults,
    sweeps: Sequence[AlphaSweep],
    lines: Sequence[Sequence[TableCell]],
    configurations: Sequence[IndexCell],
) -> tuple[str, ...]:
    compared = significance.measure_cells(results, configurations, results.metric_column("test", "accuracy"))
    return (
        *captions.make_notes(results, [sweep.row for sweep in sweeps], (cell for line in lines for cell in line)),
        *significance.make_notes([compared], noun="configurations"),
    )


def _configurations(sweeps: Sequence[AlphaSweep]) -> tuple[str, ...]:
    """Return the chosen configuration of each label, or what all its configurations share if none was chosen."""
    lines: list[str] = []
    for sweep in sweeps:
        if sweep.choice.chosen:
            lines += captions.list_configurations([sweep.row], [sweep.pair])
        elif sweep.common_configuration:
            lines.append(f"{sweep.label}: {sweep.common_configuration} in all rows")
    return tuple(lines)
