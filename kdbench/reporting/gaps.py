"""Table 4: what is not there, and why."""

from collections.abc import Iterator, Sequence

from kdbench.reporting.rows import NAMES, configuration
from kdbench.reporting.runs import Runs, pair_of
from kdbench.reporting.table import NOTHING, Column, Table, TableCell
from kdbench.results.index import IndexCell

WHERE = (Column("method", numeric=False), Column("pair", numeric=False, width=0.24))


def gaps(runs: Runs) -> Iterator[Table]:
    """Cells that cannot run or are left out, runs that failed or still wait; only those tables that have a row."""
    for table in (_impossible(runs), _excluded(runs), _failed(runs), _waiting(runs)):
        if table.rows:
            yield table


def _impossible(runs: Runs) -> Table:
    lines = dict.fromkeys((cell.label, str(pair_of(cell)), cell.reason) for cell in runs.index.incompatible)
    return Table(
        name="incompatible",
        title="Cells that cannot run",
        caption="Cells that were asked for and cannot run, with the reason.",
        columns=(*WHERE, Column("reason", numeric=False, width=0.45)),
        rows=tuple(tuple(map(TableCell, line)) for line in lines),
    )


def _excluded(runs: Runs) -> Table:
    lines = [(e.label, str(pair_of(e)), ", ".join(map(str, e.seeds)), e.why or NOTHING) for e in runs.index.excluded]
    return Table(
        name="excluded",
        title="Cells that are left out",
        caption="Cells that the matrix excludes, with the reason that it gives.",
        columns=(*WHERE, Column("seeds", numeric=False), Column("reason", numeric=False, width=0.4)),
        rows=tuple(tuple(map(TableCell, line)) for line in lines),
    )


def _failed(runs: Runs) -> Table:
    found = {
        run: _line(cell, seed, runs.error(run))
        for cell in reversed(runs.index.cells)  # a run that several cells share is shown with the first
        for seed, run in cell.runs.items()
        if runs.status(run) == "failed"
    }
    order = [run for run in runs.index.run_ids if run in found]
    return Table(
        name="failed",
        title="Failed runs",
        caption="Runs that failed, with the first line of their error; they are in no mean.",
        columns=(
            *WHERE,
            Column("configuration", numeric=False, width=0.16),
            Column("seed"),
            Column("error", numeric=False, width=0.3),
        ),
        rows=tuple(found[run] for run in order),
    )


def _waiting(runs: Runs) -> Table:
    cells = {tuple(cell.runs.values()): cell for cell in reversed(runs.index.cells)}
    waiting = {ids: runs.count(ids)["pending"] for ids in cells}
    order = dict.fromkeys(tuple(cell.runs.values()) for cell in runs.index.cells)
    return Table(
        name="pending",
        title="Runs still waiting",
        caption=f"Cells with runs that are not done yet. Run the same command again to go on.{_blocked(runs)}",
        columns=(*WHERE, Column("configuration", numeric=False, width=0.3), Column("pending")),
        rows=tuple(_line(cells[ids], _of(waiting[ids], ids)) for ids in order if waiting[ids]),
    )


def _blocked(runs: Runs) -> str:
    if not any(runs.status(run) == "failed" for run in runs.index.run_ids):
        return ""
    return " What waits for a failed run goes on once the folder of that run has been removed."


def _line(cell: IndexCell, *more: str) -> tuple[TableCell, ...]:
    name = NAMES.get(cell.kind, cell.label)
    return tuple(map(TableCell, (name, str(pair_of(cell)), configuration(cell.hyperparameters) or NOTHING, *more)))


def _of(waiting: int, runs: Sequence[str]) -> str:
    return f"{waiting} of {len(runs)} {'seed' if len(runs) == 1 else 'seeds'}"
