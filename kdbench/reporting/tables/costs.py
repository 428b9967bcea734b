"""The costs table of a pair: size and speed of the deployed networks, and training time."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

from kdbench.reporting import captions
from kdbench.reporting.environments import (
    RowsByEnvironment,
    describe_environment,
    environment_notes,
    inference_environments,
    training_environments,
)
from kdbench.reporting.matrix_results import MatrixResults
from kdbench.reporting.metric_cells import mean_cell, metric_cell
from kdbench.reporting.pair import Pair
from kdbench.reporting.protocol import protocol_lines
from kdbench.reporting.row_notes import name_cells
from kdbench.reporting.rows import Row
from kdbench.reporting.table import COUNT, MILLISECONDS, SECONDS, Column, Table, TableCell, Unit
from kdbench.reporting.training_time import training_seconds

NETWORK_COSTS = {
    "parameters": ("parameters", COUNT),
    "FLOPs": ("flops", COUNT),
    "inference\n(ms)": ("inference_ms", MILLISECONDS),
    "p95\n(ms)": ("inference_ms_p95", MILLISECONDS),
}
TRAINING = "training (s),\nalone"
TRAINING_TIME = (
    "the run's own steps, its batches and the outputs of frozen networks that it reads, as if the run were alone; and "
    "the same for the runs that it needs, each once, except the teacher of its row, whose training time is in the "
    "teacher's own row. Scoring and the search of hyperparameters are not included; other workers "
    "of the machine, if there were any, may have slowed it down"
)


def costs_table(results: MatrixResults, rows: Sequence[Row], pair: Pair) -> Table:
    """Return size and speed of the deployed networks, and training time: one row per method."""
    rows = [row for row in rows if pair in row.choices]
    network = [cost_column(results, rows, pair, *cost) for cost in NETWORK_COSTS.values()]
    seconds = partial(training_seconds, results)
    training = [mean_cell(results, row.choice_for(pair), seconds, SECONDS) for row in rows]
    lines = tuple(zip(name_cells(results, rows, pair), *network, training, strict=True))
    std = ", mean ± sample standard deviation over seeds" if results.num_seeds > 1 else ", one seed"
    inference, trained = inference_environments(results, rows, pair), training_environments(results, rows, pair)
    return Table(
        name=f"costs-{pair.file_stem}",
        title=f"Costs, {pair}",
        caption=(
            f"{pair}. Parameters of the deployed network, and FLOPs of its convolutions and matrix products (one "
            "image, a multiply-add counts as two); "
            f"{describe_inference('median and 95th percentile', inference)}. Training (s), "
            f"alone{std}{describe_environment(trained)}: {TRAINING_TIME}."
        ),
        columns=(Column("method", is_numeric=False), *map(Column, NETWORK_COSTS), Column(TRAINING)),
        rows=lines,
        notes=(
            *captions.make_notes(results, rows, (cell for line in lines for cell in line)),
            *environment_notes("Inference", inference),
            *environment_notes("Training", trained),
            *_untrained_notes(results, rows, pair),
            *_concurrency_notes(results, rows, pair),
        ),
        configurations=captions.list_configurations(rows, [pair]),
        num_baselines=sum(row.kind != "method" for row in rows),
        protocol=protocol_lines(results, rows, [pair]),
    )


def cost_column(results: MatrixResults, rows: Sequence[Row], pair: Pair, column: str, unit: Unit) -> list[TableCell]:
    """Return a property of the network, which does not depend on the seed, for every row."""
    cells = [metric_cell(results, row.choice_for(pair), column, unit) for row in rows]
    return [replace(cell, std=None, is_incomplete=False) for cell in cells]


def describe_inference(statistic: str, environments: RowsByEnvironment) -> str:
    """Return what the inference time of a caption is, and where it was measured."""
    where = describe_environment(environments)
    return f"{statistic} of the time of one image's forward pass of the architecture with random weights{where}"


def _untrained_notes(results: MatrixResults, rows: Sequence[Row], pair: Pair) -> Iterator[str]:
    """Yield a note on the rows whose networks were trained elsewhere: their time here is not what they cost."""
    cells = ((row.name, row.choice_for(pair).chosen) for row in rows)
    names = [name for name, cell in cells if cell is not None and (results.values(cell, "epochs_run") == 0).any()]
    if names:
        yield f"Training of {', '.join(names)}: 0 epochs here; what the initial weights cost elsewhere is not included."


def _concurrency_notes(results: MatrixResults, rows: Sequence[Row], pair: Pair) -> Iterator[str]:
    """Yield a note on the rows whose runs overlapped on one GPU, which makes each of them slower."""
    overlapping = [
        row.name
        for row in rows
        if (cell := row.choice_for(pair).chosen) is not None
        and any(
            results.value(run, "cuda_graphs") and (results.number(run, "cohort_size") or 1) > 1
            for run in cell.runs.values()
        )
    ]
    if overlapping:
        yield (
            f"Training of {', '.join(overlapping)}: measured while other runs trained on the same GPU (the CUDA graphs "
            "of a cohort overlap), so it is an upper bound of the time alone."
        )
