"""The costs table of a pair: size and speed of the deployed networks, and training time."""

from collections.abc import Sequence
from dataclasses import replace

from kdbench.reporting import captions
from kdbench.reporting.matrix_results import MatrixResults
from kdbench.reporting.metric_cells import metric_cell
from kdbench.reporting.pair import Pair
from kdbench.reporting.rows import Row
from kdbench.reporting.table import COUNT, MILLISECONDS, SECONDS, Column, Table, TableCell, Unit

NETWORK_COSTS = {
    "parameters": ("parameters", COUNT),
    "FLOPs": ("flops", COUNT),
    "inference\n(ms)": ("inference_ms", MILLISECONDS),
    "p95\n(ms)": ("inference_ms_p95", MILLISECONDS),
}


def costs_table(results: MatrixResults, rows: Sequence[Row], pair: Pair) -> Table:
    """Return size and speed of the deployed networks, and training time: one row per method."""
    rows = [row for row in rows if pair in row.choices]
    network = [cost_column(results, rows, pair, *cost) for cost in NETWORK_COSTS.values()]
    training = [metric_cell(results, row.choice_for(pair), "train_seconds", SECONDS) for row in rows]
    lines = tuple(zip([TableCell(row.name) for row in rows], *network, training, strict=True))
    std = ", mean ± sample standard deviation over seeds" if results.num_seeds > 1 else ""
    return Table(
        name=f"costs-{pair.file_stem}",
        title=f"Costs, {pair}",
        caption=(
            f"{pair}. Parameters and FLOPs of the deployed network; median and 95th percentile of the time of one "
            f"image's forward pass in float32{describe_devices(results)}; training time in seconds{std}: the run's "
            "own steps, its batches, and the outputs of its teacher."
        ),
        columns=(Column("method", is_numeric=False), *map(Column, NETWORK_COSTS), Column("training\n(s)")),
        rows=lines,
        notes=captions.make_notes(results, rows, (cell for line in lines for cell in line)),
        configurations=captions.list_configurations(rows, [pair]),
        num_baselines=sum(row.kind != "method" for row in rows),
    )


def cost_column(results: MatrixResults, rows: Sequence[Row], pair: Pair, column: str, unit: Unit) -> list[TableCell]:
    """Return a property of the network, which does not depend on the seed, for every row."""
    cells = [metric_cell(results, row.choice_for(pair), column, unit) for row in rows]
    return [replace(cell, std=None, is_incomplete=False) for cell in cells]


def describe_devices(results: MatrixResults) -> str:
    """Return the devices of the finished runs for a caption; empty if there is no finished run."""
    devices = results.unique_values("device")
    return f", on {', '.join(devices)}" if devices else ""
