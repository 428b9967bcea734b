"""`kdbench reindex`: rebuild the Parquet files from the run folders."""

from pathlib import Path

from rich.console import Console

from kdbench.cli.console import print_line
from kdbench.formatting import count_of
from kdbench.results import Store
from kdbench.results.integrity import corrupt_files
from kdbench.results.names import is_run_id


def reindex_results(deep: bool, results: Path, console: Console) -> None:
    """Move corrupted runs to the quarantine and rebuild the Parquet files; `deep`: verify the content of every file.

    Raises:
        ResultsError: the results folder does not exist.
        StorageError: it cannot be read or written.
    """
    from kdbench.results.table import export

    store = Store(results, create=False)
    run_ids = sorted(path.name for path in store.runs.glob("*/") if is_run_id(path.name))
    corrupted = [f"{run}: {reason}" for run, reason in store.quarantine_corrupted(run_ids, deep)]
    for text in (*corrupted, *corrupt_files(store), *export(store)[1]):
        print_line(console, text, style="yellow")
    checked = "the content" if deep else "the sizes"
    count = count_of(len(run_ids), "run")
    print_line(console, f"checked {checked} of all files of {count}: {len(corrupted)} corrupted")
    print_line(console, f"wrote {results / 'results.parquet'}, {results / 'history.parquet'}")
