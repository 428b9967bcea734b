"""Table 2: the five metrics of every pair, baselines included."""

from collections.abc import Sequence
from dataclasses import replace

from kdbench.report import captions
from kdbench.report.cells import column, number
from kdbench.report.rows import Row
from kdbench.report.runs import Pair, Runs
from kdbench.report.table import COUNT, MILLISECONDS, PERCENT, Cell, Column, Table, Unit

SCORES = {
    "accuracy\n(%)": "accuracy",
    "F1\n(%)": "f1",
    "precision\n(%)": "precision",
    "recall\n(%)": "recall",
}
COSTS = {
    "inference\n(ms)": ("inference_ms", MILLISECONDS),
    "p95\n(ms)": ("inference_ms_p95", MILLISECONDS),
    "parameters": ("parameters", COUNT),
}


def metrics(runs: Runs, rows: Sequence[Row], pair: Pair) -> Table:
    """Accuracy, macro F1, precision and recall on test, inference time and size: a row a method."""
    here = [row for row in rows if pair in row.choices]
    scores = [column(runs, here, pair, runs.column("test", metric), PERCENT) for metric in SCORES.values()]
    costs = [[_cost(runs, row, pair, *cost) for row in here] for cost in COSTS.values()]
    shown = tuple(zip([Cell(row.name) for row in here], *scores, *costs, strict=True))
    what = f"{pair}. Test metrics in % (F1, precision and recall are macro averages)"
    times = f"Inference: median and 95th percentile of one image's forward pass in float32{_where(runs)}."
    sentences = (captions.caption(runs, what), captions.bold(runs), times, captions.chosen_by(runs, here))
    return Table(
        name=f"metrics-{pair.dataset}-{pair.teacher}-{pair.student}",
        title=f"Metrics, {pair}",
        caption=" ".join(sentence for sentence in sentences if sentence),
        columns=(Column("method", numeric=False), *(Column(title) for title in (*SCORES, *COSTS))),
        rows=shown,
        notes=captions.notes(runs, here, (cell for row in shown for cell in row)),
        baselines=sum(row.kind != "method" for row in here),
    )


def _where(runs: Runs) -> str:
    devices = runs.different("device")
    return f", on {', '.join(devices)}" if devices else ""


def _cost(runs: Runs, row: Row, pair: Pair, name: str, unit: Unit) -> Cell:
    """A property of the network, not of its weights: seeds do not vary it."""
    return replace(number(runs, row.at(pair), name, unit), spread=None, incomplete=False)
