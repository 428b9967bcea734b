"""`kdbench retry`: queue failed runs again."""

from pathlib import Path

from rich.console import Console

from kdbench.cli.console import command, print_line
from kdbench.errors import ResultsError, did_you_mean
from kdbench.formatting import count_of
from kdbench.results import MatrixIndex, Store
from kdbench.results.integrity import corrupted_indexes


def retry_runs(name: str | None, results: Path, as_json: bool, console: Console) -> None:
    """Clear the failures of one matrix, or of all, so that the next `kdbench run` trains these runs again.

    The logs of the runs are kept.

    Raises:
        ResultsError: the results folder does not exist, or has no such matrix.
    """
    store = Store(results, create=False)
    indexes = list(store.indexes()) if name is None else [_find_index(store, name)]
    run_ids = store.run_ids() if name is None else indexes[0].run_ids
    cleared = [run for run in run_ids if _clear_failure(store, run)]
    files = [index.file for index in indexes if _is_from_file(index) and set(cleared) & set(index.run_ids)]
    commands = [command("run", file, results=results) for file in dict.fromkeys(files)]
    if as_json:
        console.print_json(data={"queued": cleared, "commands": commands})
        return
    for run in cleared:
        print_line(console, f"cleared the failure of {run}; queued again")
    if not cleared:
        print_line(console, "no failed runs")
    elif commands:
        print_line(console, f"to train {count_of(len(cleared), 'run')}: {' && '.join(commands)}")


def _is_from_file(index: MatrixIndex) -> bool:
    """Return whether `kdbench run` trains the matrix; the trials of `kdbench tune` have one without a file."""
    return not index.name.startswith("tune-")


def _find_index(store: Store, name: str) -> MatrixIndex:
    index = store.index(name)
    if index is not None:
        return index
    known = [found.name for found in store.indexes()]
    missing = f"no matrix '{name}' in '{store.root}'; {did_you_mean(name, known)}"
    raise ResultsError(corrupted_indexes(store).get(name) or missing)


def _clear_failure(store: Store, run: str) -> bool:
    """Clear the failure of a run; return False if it has not failed or another process holds its lock."""
    if store.state(run) != "failed":
        return False
    with store.claimed(run) as is_claimed:
        result = store.result(run) if is_claimed else None
        if result is None or result["status"] != "failed":
            return False
        reason = (str(result.get("error") or "no message").splitlines() or [""])[0]
        store.log(run, f"cleared this failure; queued again: {reason}")
        store.clear_result(run)
    return True
