"""Tables of hyperparameters: the chosen configuration of each label, and all configurations of a label."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from kdbench.formatting import format_configuration
from kdbench.reporting import captions, significance
from kdbench.reporting.alpha_sweep import AlphaSweep
from kdbench.reporting.configurations import Choice, differing_hyperparameters
from kdbench.reporting.matrix_results import MatrixResults
from kdbench.reporting.metric_cells import metric_cell, missing_cell
from kdbench.reporting.pair import Pair
from kdbench.reporting.rows import Row
from kdbench.reporting.selection import choice_column
from kdbench.reporting.table import DASH, PERCENT, Column, Table, TableCell
from kdbench.results.columns import SEARCH_COLUMN


def chosen_table(results: MatrixResults, rows: Sequence[Row]) -> Table:
    """Return the chosen configuration of every label on every pair, and the score that chose it."""
    score = _score_column(results)
    split = "test" if score.startswith("test") else "validation"
    methods = [row for row in rows if row.kind == "method" or (row.kind == "scratch" and _has_sweep(row))]
    is_search = bool(results.index.search_seeds)
    lines = tuple(
        (
            TableCell(row.name),
            *_pair_cells(results, pair),
            _configuration_cell(results, choice),
            TableCell(str(len(choice.candidates))),
            _score_cell(results, choice, score),
        )
        for row, pair, choice in _choices(results, methods)
        if not choice.is_incompatible
    )
    subject = f"Configuration of each method, number of configurations tried, and {split} accuracy in %"
    return Table(
        name="hyperparameters",
        title="Hyperparameters",
        caption=captions.join(
            captions.describe_numbers(results, subject, is_search), captions.describe_choice(results, methods)
        ),
        columns=(
            Column("method", is_numeric=False, hides_repeats=True),
            *_pair_columns(results),
            Column("configuration", is_numeric=False, width=0.3 if len(results.pairs) > 1 else 0.45),
            Column("configurations\ntried"),
            Column(f"{split} (%)"),
        ),
        rows=lines,
        notes=captions.make_notes(results, methods, (cell for line in lines for cell in line)),
    )


def configuration_tables(results: MatrixResults, rows: Sequence[Row], sweeps: Sequence[AlphaSweep]) -> Iterator[Table]:
    """Yield, for each label with several configurations, all of them with validation and test accuracy.

    Labels and pairs that have a table by alpha are left out.
    """
    has_alpha_table = {(sweep.label, sweep.pair) for sweep in sweeps}
    for row in rows:
        choices = {pair: choice for pair, choice in row.choices.items() if (row.name, pair) not in has_alpha_table}
        if results.index.search_seeds:
            choices = {pair: choice for pair, choice in choices.items() if choice.is_searched}
        listed = replace(row, choices=choices)
        if _has_sweep(listed):
            yield _configuration_table(results, listed)


def _configuration_table(results: MatrixResults, row: Row) -> Table:
    lines = tuple(line for _, pair, choice in _choices(results, [row]) for line in _lines(results, pair, choice))
    is_search = bool(results.index.search_seeds)
    compared = [
        significance.measure_cells(results, choice.candidates, _scores(results, choice)[-1], str(pair))
        for _, pair, choice in _choices(results, [row])
        if choice.candidates
    ]
    subject = f"All configurations of {row.name}: accuracy in %"
    return Table(
        name=f"configurations-{row.name}",
        title=f"Configurations of {row.name}",
        caption=captions.join(
            captions.describe_numbers(results, subject, is_search),
            captions.BOLD_CHOSEN,
            captions.describe_choice(results, [row]),
        ),
        columns=(
            *(replace(column, width=0.36, hides_repeats=True) for column in _pair_columns(results)),
            Column("configuration", is_numeric=False, width=0.36),
            Column("validation (%)"),
            *(() if is_search else (Column("test (%)"),)),
        ),
        rows=lines,
        notes=(
            *captions.make_notes(results, [row], (cell for line in lines for cell in line)),
            *significance.make_notes(compared, noun="configurations"),
        ),
    )


def _scores(results: MatrixResults, choice: Choice) -> Sequence[str]:
    """Return the columns of the scores that are shown; the last one is compared."""
    if choice.is_searched:
        return (SEARCH_COLUMN,)
    return [results.metric_column(split, "accuracy") for split in ("val", "test")]


def _lines(results: MatrixResults, pair: Pair, choice: Choice) -> Iterator[tuple[TableCell, ...]]:
    columns = _scores(results, choice)
    for cell, differing in zip(choice.candidates, differing_hyperparameters(choice.candidates), strict=True):
        name = TableCell(format_configuration(differing or cell.hyperparameters))
        scores = (metric_cell(results, Choice.of(cell), column, PERCENT) for column in columns)
        is_chosen = cell is choice.chosen_candidate
        yield (*_pair_cells(results, pair), *(replace(one, is_chosen=is_chosen) for one in (name, *scores)))


def _choices(results: MatrixResults, rows: Sequence[Row]) -> Iterator[tuple[Row, Pair, Choice]]:
    """Yield every row with every pair on which it has a cell."""
    for row in rows:
        for pair in results.pairs:
            if pair in row.choices:
                yield row, pair, row.choices[pair]


def _has_sweep(row: Row) -> bool:
    return any(len(choice.candidates) > 1 for choice in row.choices.values())


def _score_column(results: MatrixResults) -> str:
    """Return the column of the score that chose the configurations."""
    return choice_column(results.index, results.selection) or results.metric_column("val", "accuracy")


def _score_cell(results: MatrixResults, choice: Choice, column: str) -> TableCell:
    """Return the score of the chosen configuration; a dash if search seeds exist, but the label needed no search."""
    if not results.index.search_seeds:
        return metric_cell(results, choice, column, PERCENT)
    if not choice.is_searched:
        return TableCell(DASH, is_missing=True)
    candidate = choice.chosen_candidate
    return (
        missing_cell(results, choice)
        if candidate is None
        else metric_cell(results, Choice.of(candidate), column, PERCENT)
    )


def _configuration_cell(results: MatrixResults, choice: Choice) -> TableCell:
    if choice.chosen is None:
        return missing_cell(results, choice)
    return TableCell(format_configuration(choice.chosen.hyperparameters) or DASH)


def _pair_cells(results: MatrixResults, pair: Pair) -> tuple[TableCell, ...]:
    return (TableCell(str(pair)),) if len(results.pairs) > 1 else ()


def _pair_columns(results: MatrixResults) -> tuple[Column, ...]:
    return (Column("pair", is_numeric=False, width=0.24),) if len(results.pairs) > 1 else ()
