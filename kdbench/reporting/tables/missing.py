"""Tables of what is missing: incompatible and excluded cells, failed and unfinished runs."""

from collections.abc import Iterator

from kdbench.formatting import format_configuration
from kdbench.reporting.matrix_results import MatrixResults
from kdbench.reporting.pair import Pair
from kdbench.reporting.rows import BASELINES
from kdbench.reporting.table import DASH, Column, Table, TableCell
from kdbench.results.index import IndexCell

CELL = (Column("method", is_numeric=False), Column("pair", is_numeric=False, width=0.24))


def missing_tables(results: MatrixResults) -> Iterator[Table]:
    """Yield the tables of incompatible cells, excluded cells, failed runs and pending runs that have a row."""
    for table in (_incompatible(results), _excluded(results), _failed(results), _pending(results)):
        if table.rows:
            yield table


def _incompatible(results: MatrixResults) -> Table:
    lines = dict.fromkeys((cell.label, str(Pair.of(cell)), cell.reason) for cell in results.index.incompatible)
    return Table(
        name="incompatible",
        title="Incompatible cells",
        caption="Cells whose method is incompatible with the pair or the data set, with the reason.",
        columns=(*CELL, Column("reason", is_numeric=False, width=0.45)),
        rows=tuple(tuple(map(TableCell, line)) for line in lines),
    )


def _excluded(results: MatrixResults) -> Table:
    lines = [
        (cell.label, str(Pair.of(cell)), ", ".join(map(str, cell.seeds)), cell.why or DASH)
        for cell in results.index.excluded
    ]
    return Table(
        name="excluded",
        title="Excluded cells",
        caption="Cells that the matrix excludes, with its reason.",
        columns=(*CELL, Column("seeds", is_numeric=False), Column("reason", is_numeric=False, width=0.4)),
        rows=tuple(tuple(map(TableCell, line)) for line in lines),
    )


def _failed(results: MatrixResults) -> Table:
    lines = {
        run: _line(cell, seed, run[:8], results.error(run))
        for cell in reversed(results.index.cells)  # of several cells that share a run, the first one is listed
        for seed, run in cell.runs.items()
        if results.status(run) == "failed"
    }
    return Table(
        name="failed",
        title="Failed runs",
        caption="Failed runs: the first digits of the id and the first line of the error. No mean includes them.",
        columns=(
            *CELL,
            Column("configuration", is_numeric=False, width=0.14),
            Column("seed"),
            Column("run", is_numeric=False),
            Column("error", is_numeric=False, width=0.26),
        ),
        rows=tuple(lines[run] for run in results.index.run_ids if run in lines),
    )


def _pending(results: MatrixResults) -> Table:
    cells = {tuple(cell.runs.values()): cell for cell in reversed(results.index.cells)}
    order = dict.fromkeys(tuple(cell.runs.values()) for cell in results.index.cells)
    counts = {run_ids: results.count_by_status(run_ids) for run_ids in order}
    unfinished = {run_ids: count["pending"] + count["running"] for run_ids, count in counts.items()}
    has_failed = any(results.status(run) == "failed" for run in results.index.run_ids)
    retry = f" To retry failed runs, which may block others: kdbench retry {results.index.name}" if has_failed else ""
    return Table(
        name="pending",
        title="Pending runs",
        caption=f"Cells with pending or running runs. Rerun the same command to continue.{retry}",
        columns=(*CELL, Column("configuration", is_numeric=False, width=0.3), Column("pending")),
        rows=tuple(
            _line(cells[run_ids], f"{count} of {len(run_ids)} {'seed' if len(run_ids) == 1 else 'seeds'}")
            for run_ids, count in unfinished.items()
            if count
        ),
    )


def _line(cell: IndexCell, *more: str) -> tuple[TableCell, ...]:
    configuration = format_configuration(cell.hyperparameters) or DASH
    name = BASELINES["scratch"] if cell.kind == "scratch" else cell.label
    name += " (search)" if cell.phase == "search" else ""
    return tuple(map(TableCell, (name, str(Pair.of(cell)), configuration, *more)))
