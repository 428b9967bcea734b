"""The metrics table of a pair: accuracy, F1, precision, recall and inference time."""

from collections.abc import Sequence

from kdbench.reporting import captions, significance
from kdbench.reporting.environments import environment_notes, inference_environments
from kdbench.reporting.matrix_results import MatrixResults
from kdbench.reporting.metric_cells import metric_column
from kdbench.reporting.mixed_environments import mixed_environment_notes
from kdbench.reporting.pair import Pair
from kdbench.reporting.protocol import protocol_lines
from kdbench.reporting.row_notes import name_cells
from kdbench.reporting.rows import Row
from kdbench.reporting.table import MILLISECONDS, PERCENT, Column, Table
from kdbench.reporting.tables.costs import cost_column, describe_inference

SCORES = {
    "accuracy\n(%)": "accuracy",
    "F1\n(%)": "f1",
    "precision\n(%)": "precision",
    "recall\n(%)": "recall",
}


def metrics_table(results: MatrixResults, rows: Sequence[Row], pair: Pair) -> Table:
    """Return accuracy, macro F1, precision and recall on the test set, and inference time: one row per method."""
    rows = [row for row in rows if pair in row.choices]
    columns = [results.metric_column("test", metric) for metric in SCORES.values()]
    scores = [metric_column(results, rows, pair, column, PERCENT) for column in columns]
    names = [title.replace("\n(%)", "") for title in SCORES]
    compared = [
        significance.compare_rows(results, rows, pair, column, name)
        for name, column in zip(names, columns, strict=True)
    ]
    inference = cost_column(results, rows, pair, "inference_ms", MILLISECONDS)
    environments = inference_environments(results, rows, pair)
    lines = tuple(zip(name_cells(results, rows, pair), *scores, inference, strict=True))
    subject = f"{pair}. Test metrics in % (F1, precision and recall are macro averages; scored in fp32)"
    return Table(
        name=f"metrics-{pair.file_stem}",
        title=f"Metrics, {pair}",
        caption=captions.join(
            captions.describe_numbers(results, subject),
            significance.describe_bold(compared),
            f"Inference: {describe_inference('median', environments)}.",
            captions.describe_choice(results, rows),
        ),
        columns=(
            Column("method", is_numeric=False, footnotes=mixed_environment_notes(results, rows, pair)),
            *map(Column, SCORES),
            Column("inference\n(ms)"),
        ),
        rows=lines,
        notes=(
            *captions.make_notes(results, rows, (cell for line in lines for cell in line)),
            *environment_notes("Inference", environments),
            *significance.make_notes(compared, lines),
        ),
        configurations=captions.list_configurations(rows, [pair]),
        num_baselines=sum(row.kind != "method" for row in rows),
        protocol=protocol_lines(results, rows, [pair]),
    )
