"""Table 4: what alpha does. A table a label, and one that sets labels with the same alphas side by side."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from kdbench.formatting import format_value
from kdbench.reporting import captions
from kdbench.reporting.cells import gain, number
from kdbench.reporting.metrics import SCORES
from kdbench.reporting.rows import Choice, Row
from kdbench.reporting.runs import Pair, Runs
from kdbench.reporting.sweeps import Sweep
from kdbench.reporting.table import NOTHING, PERCENT, POINTS, Column, Table, TableCell
from kdbench.results.index import IndexCell

CHOSEN = "Bold: the chosen configuration, which the other tables show."


def alphas(runs: Runs, rows: Sequence[Row], sweeps: Sequence[Sweep]) -> Iterator[Table]:
    """Pair by pair: the labels that swept the same alphas beside one another, then each label with all its metrics."""
    scratch = next((row for row in rows if row.kind == "scratch"), Row("scratch", "", {}))
    for pair in dict.fromkeys(sweep.pair for sweep in sweeps):
        here = [sweep for sweep in sweeps if sweep.pair == pair]
        for values in dict.fromkeys(sweep.alphas for sweep in here):
            same = [sweep for sweep in here if sweep.alphas == values]
            if len(same) > 1:
                yield _beside(runs, pair, same)
        for sweep in here:
            yield _alone(runs, sweep, scratch.at(pair))


def _beside(runs: Runs, pair: Pair, sweeps: Sequence[Sweep]) -> Table:
    curves = [(name, sweep, cells) for sweep in sweeps for name, cells in sweep.curves.items()]
    shown = tuple(
        (TableCell(format_value(alpha)), *(_accuracy(runs, sweep, cells, alpha) for _, sweep, cells in curves))
        for alpha in sweeps[0].alphas
    )
    columns = [Column(name.replace(" + ", " +\n"), group="test accuracy (%)") for name, _, _ in curves]
    held = "What else varies is held at the chosen configuration." if any(sweep.held for sweep in sweeps) else ""
    return Table(
        name=f"alpha-{pair.stem}",
        title=f"Accuracy by alpha, {pair}",
        caption=_caption(
            runs, f"{pair}. Test accuracy in % by alpha, the weight of the distillation term", sweeps, held
        ),
        columns=(Column("alpha", numeric=False, key=True), *columns),
        rows=shown,
        notes=_notes(runs, sweeps, shown),
        configurations=_configurations(sweeps),
    )


def _accuracy(runs: Runs, sweep: Sweep, cells: Sequence[IndexCell], alpha: float) -> TableCell:
    found = next((cell for cell in cells if sweep.value(cell) == alpha), None)
    if found is None:
        return TableCell(NOTHING, missing=True)
    shown = number(runs, Choice((found,), found), runs.column("test", "accuracy"), PERCENT)
    return replace(shown, chosen=found is sweep.choice.chosen)


def _alone(runs: Runs, sweep: Sweep, scratch: Choice) -> Table:
    shown = tuple(
        (*map(TableCell, values), *(replace(entry, chosen=cell is sweep.choice.chosen) for entry in line))
        for values, cells in sweep.groups.items()
        for cell in cells
        for line in [(TableCell(format_value(sweep.value(cell))), *_numbers(runs, cell, scratch))]
    )
    what = f"{sweep.label} by {sweep.alpha}, {sweep.pair}. Metrics in % (F1, precision and recall are macro averages)"
    gains = "Gain: the mean of the paired differences to the student from scratch, in points." if scratch.chosen else ""
    keys = [Column(name, numeric=False, groups=True) for name in sweep.others]
    return Table(
        name=f"alpha-{sweep.label}-{sweep.pair.stem}",
        title=f"{sweep.label} by alpha, {sweep.pair}",
        caption=_caption(runs, what, [sweep], gains),
        columns=(*keys, Column(sweep.alpha, numeric=False, key=True), *_columns(runs, scratch)),
        rows=shown,
        notes=(*_notes(runs, [sweep], shown), *captions.agreement(runs)),
        configurations=_configurations([sweep]),
    )


def _columns(runs: Runs, scratch: Choice) -> Iterator[Column]:
    yield from (Column(title, group="test") for title in SCORES)
    if runs.index.validation > 0:
        yield Column("accuracy\n(%)", group="validation")
    if scratch.chosen:
        yield Column("gain over\nscratch")
    if runs.has(runs.agreement):
        yield Column("agreement\n(%)")


def _numbers(runs: Runs, cell: IndexCell, scratch: Choice) -> Iterator[TableCell]:
    one, accuracy = Choice((cell,), cell), runs.column("test", "accuracy")
    yield from (number(runs, one, runs.column("test", metric), PERCENT) for metric in SCORES.values())
    if runs.index.validation > 0:
        yield number(runs, one, runs.column("val", "accuracy"), PERCENT)
    if scratch.chosen:
        yield gain(runs, one, scratch, accuracy, POINTS)
    if runs.has(runs.agreement):
        yield number(runs, one, runs.agreement, PERCENT)


def _caption(runs: Runs, what: str, sweeps: Sequence[Sweep], more: str) -> str:
    chosen = [sweep.row for sweep in sweeps if sweep.choice.chosen]
    sentences = (captions.caption(runs, what), more, *((CHOSEN, captions.chosen_by(runs, chosen)) if chosen else ()))
    return " ".join(sentence for sentence in sentences if sentence)


def _notes(runs: Runs, sweeps: Sequence[Sweep], shown: Sequence[Sequence[TableCell]]) -> tuple[str, ...]:
    rows = [sweep.row for sweep in sweeps]
    return captions.notes(runs, rows, (cell for line in shown for cell in line))


def _configurations(sweeps: Sequence[Sweep]) -> tuple[str, ...]:
    """The chosen configuration of each label; where nothing was chosen, what all its rows have in common."""
    lines = (
        captions.configurations([sweep.row], [sweep.pair])
        if sweep.choice.chosen
        else (f"{sweep.label}: {sweep.fixed} in all rows",)
        for sweep in sweeps
        if sweep.choice.chosen or sweep.fixed
    )
    return tuple(line for one in lines for line in one)
