"""`kdbench run` and `kdbench report`."""

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from kdbench.errors import DataError, MatrixError, ResultsError, printable
from kdbench.matrix import MatrixSpec, load
from kdbench.matrix.plan_digest import plan_digest
from kdbench.matrix.resolve import data_spec
from kdbench.progress import Progress
from kdbench.results import MatrixIndex, Store
from kdbench.results.integrity import corrupted_indexes

if TYPE_CHECKING:
    import pandas as pd

    from kdbench.reporting import Selection


def run_matrix(
    file: Path, results: Path, reports: Path, console: Console, on_ray: bool = False, address: str | None = None
) -> int:
    """Train what a matrix lacks, print its table, write its report; gives the number of failed runs.

    It is trained in processes of this machine, or `on_ray` in the Ray cluster at an address.

    Raises:
        KdbenchError: whatever keeps the matrix from being run.
    """
    matrix = load(file)
    store = Store(results)
    index = _finished(matrix, store)
    if index is not None:
        return _nothing_to_do(index, store, console)
    from kdbench.plan import make_plan
    from kdbench.runner import Ray, run_plan

    console.print(Text(f"planning {file}"))
    plan = make_plan(matrix)
    if not plan.runs:
        raise MatrixError(f"{file}: no cell can run; `kdbench plan {file}` says why")
    _tell_what_is_left_out(len(plan.incompatible), plan.warnings, file, console)
    with Progress(plan, store, console) as progress:
        run_plan(plan, store, progress.on_event, Ray(address) if on_ray else None)
    return _conclude(plan.index(), store, reports, console)


def write_report(
    names: tuple[str, ...], results: Path, reports: Path, selection: "Selection", console: Console
) -> None:
    """Write the reports of some or all matrices and say where they are.

    Raises:
        ReportError: there is nothing to report, a name is not known, or the reports cannot be written.
    """
    frame, notes = _derive(Store(results, create=False))
    for note in notes:
        console.print(Text(f"note: {note}", style="yellow"), soft_wrap=True)
    for path in _written(names, results, reports, selection, frame):
        console.print(Text(f"wrote {path}"), soft_wrap=True)


def _derive(store: Store) -> tuple["pd.DataFrame", list[str]]:
    """Derive the tables, if the folder can be written to; gives the runs, and what is corrupted."""
    from kdbench.results.table import export, read_rows, to_frame

    try:
        found, notes = export(store)
    except ResultsError as error:
        found, notes = read_rows(store), [f"results.parquet and history.parquet stay as they are: {error}"]
    return to_frame(found), [*notes, *corrupted_indexes(store).values()]


def _finished(matrix: MatrixSpec, store: Store) -> MatrixIndex | None:
    """What the matrix asked for when it was planned last, if nothing has changed since and all of it has ended."""
    index = store.index(matrix.name)
    if index is None or not index.digest or index.digest != plan_digest(matrix, _contents(matrix)):
        return None
    return index if store.is_complete(index) else None


def _contents(matrix: MatrixSpec) -> dict[str, str | None]:
    """The data sets' fingerprints as they are now; none for one that cannot be read, of which the plan will tell."""
    from kdbench import data

    found: dict[str, str | None] = dict.fromkeys(matrix.datasets)
    for name in matrix.datasets:
        with suppress(DataError):
            found[name] = data.get_fingerprint(data_spec(matrix, name))
    return found


def _nothing_to_do(index: MatrixIndex, store: Store, console: Console) -> int:
    failed = [run for run in index.run_ids if store.state(run) == "failed"]
    ended = f"all {len(index.run_ids)} runs of {index.name} have ended"
    told = (
        f", {len(failed)} of them failed (kdbench show {failed[0]}; `kdbench retry --failed` to try again)"
        if failed
        else ""
    )
    console.print(Text(f"nothing to do: {ended}{told}; `kdbench report` writes the tables"), soft_wrap=True)
    return len(failed)


def _tell_what_is_left_out(incompatible: int, warnings: tuple[str, ...], file: Path, console: Console) -> None:
    if incompatible:
        console.print(Text(f"cells that cannot run: {incompatible}; `kdbench plan {file}` says why", style="yellow"))
    for warning in warnings:
        console.print(Text(f"warning: {warning}", style="yellow"), soft_wrap=True)


def _conclude(index: MatrixIndex, store: Store, reports: Path, console: Console) -> int:
    from kdbench.reporting import build_tables
    from kdbench.reporting.formats.terminal import print_table
    from kdbench.results.table import load_results

    frame = load_results(str(store.root))
    shown = build_tables(index, frame, "last")
    for table in shown[:2]:
        print_table(table, console)
    written = _written((index.name,), store.root, reports, "last", frame)
    console.print(Text(f"wrote {written[0]}"), soft_wrap=True)
    failed = [run for run in index.run_ids if store.state(run) == "failed"]
    waiting = [run for run in index.run_ids if store.state(run) == "pending"]
    for run in failed:
        reason = str((store.result(run) or {}).get("error") or "no message").splitlines()[0]
        console.print(Text(f"failed: {run}: {printable(reason)}", style="red"), soft_wrap=True)
    if waiting:
        console.print(Text(f"{len(waiting)} runs wait for a run that failed", style="red"), soft_wrap=True)
    if failed:
        again = f"to try them again: `kdbench retry --failed {index.name}`, then run the matrix"
        console.print(Text(again), soft_wrap=True)
    return len(failed) + len(waiting)


def _written(
    names: tuple[str, ...], results: Path, reports: Path, selection: "Selection", frame: "pd.DataFrame"
) -> tuple[Path, ...]:
    from kdbench.reporting import write_report

    return tuple(path for one in write_report(results, reports, names, selection, frame) for path in one.paths)
