"""Table 1: who is most accurate."""

from collections.abc import Sequence

from kdbench.reporting import captions
from kdbench.reporting.cells import column, gain, number
from kdbench.reporting.rows import Row
from kdbench.reporting.runs import Pair, Runs
from kdbench.reporting.table import PERCENT, POINTS, Column, Table, TableCell


def accuracy(runs: Runs, rows: Sequence[Row]) -> Table:
    """Test accuracy, a row a method and a column a pair; with one pair also gain over scratch and agreement."""
    pairs = runs.pairs
    columns = [_column(pair) for pair in pairs]
    numbers = [column(runs, rows, pair, runs.column("test", "accuracy"), PERCENT) for pair in pairs]
    if len(pairs) == 1:
        columns += [Column("gain over\nscratch"), Column("agreement with\nteacher (%)")]
        numbers += [_gains(runs, rows, pairs[0]), _agreement(runs, rows, pairs[0])]
    shown = tuple(zip([TableCell(row.name) for row in rows], *numbers, strict=True))
    return Table(
        name="accuracy",
        title="Accuracy",
        caption=_caption(runs, rows),
        columns=(Column("method", numeric=False), *columns),
        rows=shown,
        notes=(
            *captions.notes(runs, rows, (cell for row in shown for cell in row)),
            *(captions.agreement(runs) if len(pairs) == 1 else ()),
        ),
        configurations=captions.configurations(rows, pairs),
        baselines=sum(row.kind != "method" for row in rows),
    )


def _column(pair: Pair) -> Column:
    return Column(f"{pair.teacher} →\n{pair.student}", group=pair.dataset)


def _caption(runs: Runs, rows: Sequence[Row]) -> str:
    gains = "Gain: the mean of the paired differences to the student from scratch, in points."
    sentences = [
        captions.caption(runs, "Test accuracy in %"),
        captions.bold(runs),
        gains if len(runs.pairs) == 1 else "",
        captions.chosen_by(runs, rows),
    ]
    return " ".join(sentence for sentence in sentences if sentence)


def _gains(runs: Runs, rows: Sequence[Row], pair: Pair) -> list[TableCell]:
    scratch = next((row.at(pair) for row in rows if row.kind == "scratch"), None)
    accuracy = runs.column("test", "accuracy")
    if scratch is None:
        return [TableCell() for _ in rows]
    return [gain(runs, r.at(pair), scratch, accuracy, POINTS) if r.kind == "method" else TableCell() for r in rows]


def _agreement(runs: Runs, rows: Sequence[Row], pair: Pair) -> list[TableCell]:
    """The share of test images on which student and teacher say the same class."""
    return [number(runs, r.at(pair), runs.agreement, PERCENT) if r.kind == "method" else TableCell() for r in rows]
