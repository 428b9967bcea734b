"""Table 3: which configuration stands for each label, out of how many, and what else was tried."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from kdbench.reporting import captions
from kdbench.reporting.cells import absent, number
from kdbench.reporting.rows import Choice, Row, configuration, differences
from kdbench.reporting.runs import Pair, Runs
from kdbench.reporting.selection import criterion
from kdbench.reporting.sweeps import Sweep
from kdbench.reporting.table import NOTHING, PERCENT, Column, Table, TableCell


def chosen(runs: Runs, rows: Sequence[Row]) -> Table:
    """The configuration shown for every label on every pair, and the score that chose it."""
    score = criterion(runs.index, runs.selection) or runs.column("val", "accuracy")
    split = "test" if score.startswith("test") else "validation"
    methods = [row for row in rows if row.kind == "method"]
    shown = tuple(
        (
            TableCell(row.name),
            *_place(runs, pair),
            _configuration(runs, choice),
            TableCell(str(len(choice.tried))),
            number(runs, choice, score, PERCENT),
        )
        for row, pair, choice in _pairs(runs, methods)
        if not choice.incompatible
    )
    what = f"The configuration that stands for each method, the number of configurations tried, and its {split} accuracy in %"
    return Table(
        name="hyperparameters",
        title="Hyperparameters",
        caption=f"{captions.caption(runs, what)} {captions.chosen_by(runs, methods)}".strip(),
        columns=(
            Column("method", numeric=False, groups=True),
            *_place_columns(runs),
            Column("configuration", numeric=False, width=0.3 if len(runs.pairs) > 1 else 0.45),
            Column("configurations\ntried"),
            Column(f"{split} (%)"),
        ),
        rows=shown,
        notes=captions.notes(runs, methods, (cell for row in shown for cell in row)),
    )


def tried(runs: Runs, rows: Sequence[Row], sweeps: Sequence[Sweep]) -> Iterator[Table]:
    """For each label with several configurations, all of them with their validation and test accuracy.

    What a table of alphas shows already, is left out.
    """
    shown = {(sweep.label, sweep.pair) for sweep in sweeps}
    for row in rows:
        left = {pair: choice for pair, choice in row.choices.items() if (row.name, pair) not in shown}
        if any(len(choice.tried) > 1 for choice in left.values()):
            yield _tried(runs, replace(row, choices=left))


def _tried(runs: Runs, row: Row) -> Table:
    swept = [(pair, choice) for _, pair, choice in _pairs(runs, [row]) if choice.tried]
    shown = tuple(line for pair, choice in swept for line in _lines(runs, pair, choice))
    return Table(
        name=f"configurations-{row.name}",
        title=f"Configurations of {row.name}",
        caption=(
            f"{captions.caption(runs, f'All configurations of {row.name}: accuracy in %')} Bold: the configuration that is shown "
            f"elsewhere. {captions.chosen_by(runs, [row])}"
        ).strip(),
        columns=(
            *(replace(column, width=0.36, groups=True) for column in _place_columns(runs)),
            Column("configuration", numeric=False, width=0.36),
            Column("validation (%)"),
            Column("test (%)"),
        ),
        rows=shown,
        notes=captions.notes(runs, [row], (cell for line in shown for cell in line)),
    )


def _lines(runs: Runs, pair: Pair, choice: Choice) -> Iterator[tuple[TableCell, ...]]:
    names = (runs.column("val", "accuracy"), runs.column("test", "accuracy"))
    for cell, part in zip(choice.tried, differences(choice.tried), strict=True):
        one = Choice((cell,), cell)
        numbers = (number(runs, one, name, PERCENT) for name in names)
        line = (TableCell(configuration(part or cell.hyperparameters)), *numbers)
        chosen = cell is choice.chosen
        yield (*_place(runs, pair), *(replace(entry, chosen=chosen) for entry in line))


def _pairs(runs: Runs, rows: Sequence[Row]) -> Iterator[tuple[Row, Pair, Choice]]:
    """Every label on every pair that it was asked for."""
    for row in rows:
        for pair in runs.pairs:
            if pair in row.choices:
                yield row, pair, row.at(pair)


def _configuration(runs: Runs, choice: Choice) -> TableCell:
    if choice.chosen is None:
        return absent(runs, choice)
    return TableCell(configuration(choice.chosen.hyperparameters) or NOTHING)


def _place(runs: Runs, pair: Pair) -> tuple[TableCell, ...]:
    return (TableCell(str(pair)),) if len(runs.pairs) > 1 else ()


def _place_columns(runs: Runs) -> tuple[Column, ...]:
    return (Column("pair", numeric=False, width=0.24),) if len(runs.pairs) > 1 else ()
