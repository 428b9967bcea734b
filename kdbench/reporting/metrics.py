"""Tables 2 and 3: the five metrics of every pair, and what its networks cost; baselines included."""

from collections.abc import Sequence
from dataclasses import replace

from kdbench.reporting import captions
from kdbench.reporting.cells import column, number
from kdbench.reporting.rows import Row
from kdbench.reporting.runs import Pair, Runs
from kdbench.reporting.table import COUNT, MILLISECONDS, PERCENT, SECONDS, Column, Table, TableCell, Unit

SCORES = {
    "accuracy\n(%)": "accuracy",
    "F1\n(%)": "f1",
    "precision\n(%)": "precision",
    "recall\n(%)": "recall",
}
INFERENCE = {"inference\n(ms)": ("inference_ms", MILLISECONDS)}
NETWORK = {
    "parameters": ("parameters", COUNT),
    "FLOPs": ("flops", COUNT),
    **INFERENCE,
    "p95\n(ms)": ("inference_ms_p95", MILLISECONDS),
}


def metrics(runs: Runs, rows: Sequence[Row], pair: Pair) -> Table:
    """Accuracy, macro F1, precision and recall on test, and inference time: a row a method."""
    here = [row for row in rows if pair in row.choices]
    scores = [column(runs, here, pair, runs.column("test", metric), PERCENT) for metric in SCORES.values()]
    costs = [[_cost(runs, row, pair, *cost) for row in here] for cost in INFERENCE.values()]
    what = f"{pair}. Test metrics in % (F1, precision and recall are macro averages)"
    times = f"Inference: median of one image's forward pass in float32{_where(runs)}."
    sentences = (captions.caption(runs, what), captions.bold(runs), times, captions.chosen_by(runs, here))
    table = Table(
        name=f"metrics-{pair.stem}",
        title=f"Metrics, {pair}",
        caption=" ".join(sentence for sentence in sentences if sentence),
        columns=(Column("method", numeric=False), *(Column(title) for title in (*SCORES, *INFERENCE))),
        rows=tuple(zip([TableCell(row.name) for row in here], *scores, *costs, strict=True)),
        configurations=captions.configurations(here, [pair]),
    )
    return _with_notes(runs, here, table)


def costs(runs: Runs, rows: Sequence[Row], pair: Pair) -> Table:
    """Size and speed of the deployed networks, and how long they trained: a row a method."""
    here = [row for row in rows if pair in row.choices]
    network = [[_cost(runs, row, pair, *cost) for row in here] for cost in NETWORK.values()]
    training = [number(runs, row.at(pair), "train_seconds", SECONDS) for row in here]
    spread = " (mean ± sample standard deviation over seeds)" if runs.seeds > 1 else ""
    table = Table(
        name=f"costs-{pair.stem}",
        title=f"Costs, {pair}",
        caption=(
            f"{pair}. Parameters of the deployed network; FLOPs, median time and 95th percentile of one image's "
            f"forward pass in float32{_where(runs)}; seconds of training{spread}: the run's own steps and all the work "
            "that it shared with others."
        ),
        columns=(Column("method", numeric=False), *map(Column, NETWORK), Column("training\n(s)")),
        rows=tuple(zip([TableCell(row.name) for row in here], *network, training, strict=True)),
        configurations=captions.configurations(here, [pair]),
    )
    return _with_notes(runs, here, table)


def _with_notes(runs: Runs, rows: Sequence[Row], table: Table) -> Table:
    notes = captions.notes(runs, rows, (cell for row in table.rows for cell in row))
    return replace(table, notes=notes, baselines=sum(row.kind != "method" for row in rows))


def _where(runs: Runs) -> str:
    devices = runs.different("device")
    return f", on {', '.join(devices)}" if devices else ""


def _cost(runs: Runs, row: Row, pair: Pair, name: str, unit: Unit) -> TableCell:
    """A property of the network, not of its weights: seeds do not vary it."""
    return replace(number(runs, row.at(pair), name, unit), spread=None, incomplete=False)
