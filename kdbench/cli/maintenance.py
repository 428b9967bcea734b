"""`kdbench retry`, `clean`, `merge` and `reindex`: the care of a results folder."""

from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.text import Text

from kdbench.errors import ResultsError, did_you_mean
from kdbench.formatting import format_bytes
from kdbench.results import Store, leftovers
from kdbench.results.integrity import corrupt_files, corrupted_indexes
from kdbench.results.merge import merge


def retry_failed(matrix: str | None, results: Path, console: Console) -> None:
    """Forget the failures of a matrix, or of all, so that those runs wait again; their logs stay.

    Raises:
        ResultsError: there is no such results folder, or no such matrix in it.
    """
    store = Store(results, create=False)
    forgotten = [run for run in _runs(store, matrix) if _forget(store, run)]
    for run in forgotten:
        console.print(Text(f"forgotten: the failure of {run}"), soft_wrap=True)
    next_step = f"{len(forgotten)} runs wait again; `kdbench run MATRIX` trains them" if forgotten else "nothing failed"
    console.print(Text(next_step), soft_wrap=True)


def clean(dry: bool, results: Path, console: Console) -> None:
    """Remove what dead attempts have left, and say what and how much; `dry`: only say it.

    Raises:
        ResultsError: there is no such results folder, or it cannot be written to.
    """
    store = Store(results, create=False)
    count, size = Counter[str](), Counter[str]()
    for leftover in leftovers.find(store):
        if dry:
            console.print(Text(f"{leftover.path} ({leftover.kind})"), soft_wrap=True)
        if dry or leftovers.remove(store, leftover):
            count[leftover.kind] += 1
            size[leftover.kind] += leftover.bytes
    verb = "would remove" if dry else "removed"
    for what in count:
        console.print(Text(f"{verb}: {what}: {count[what]}, {format_bytes(size[what])}"), soft_wrap=True)
    if not count:
        console.print("nothing to clean")


def merge_folders(into: Path, source: Path, console: Console) -> None:
    """Copy what one results folder lacks from another, and say what was not copied and why.

    Raises:
        ResultsError: there is no such results folder, or the two do not fit together.
    """
    from kdbench.results.table import export

    store = Store(into, create=False)
    merged = merge(store, Store(source, create=False))
    notes = [*merged.notes, *export(store)[1]]
    for note in notes:
        console.print(Text(note, style="yellow"), soft_wrap=True)
    copied = f"{len(merged.runs)} runs, {len(merged.matrices)} matrices, {len(merged.timings)} timings"
    console.print(Text(f"copied from {source} into {into}: {copied}"), soft_wrap=True)


def reindex(deep: bool, results: Path, console: Console) -> None:
    """Put corrupted runs aside and derive the tables anew; `deep`: read every file of every run.

    Raises:
        ResultsError: there is no such results folder, or it cannot be written to.
    """
    from kdbench.results.table import export

    store = Store(results, create=False)
    aside = [f"{run}: {why}" for run, why in store.quarantine_corrupted(_runs(store, None), deep)]
    for text in (*aside, *corrupt_files(store), *export(store)[1]):
        console.print(Text(text, style="yellow"), soft_wrap=True)
    looked = "all files" if deep else "the sizes of files"
    console.print(Text(f"looked at {looked} of {len(_runs(store, None))} runs; {len(aside)} corrupted"), soft_wrap=True)
    console.print(Text(f"wrote {results / 'results.parquet'}, {results / 'history.parquet'}"), soft_wrap=True)


def _runs(store: Store, matrix: str | None) -> list[str]:
    """The runs of a matrix; without one all that have a folder."""
    if matrix is None:
        return sorted(path.name for path in store.runs.glob("*/"))
    index = store.index(matrix)
    if index is not None:
        return list(index.run_ids)
    known = [found.name for found in store.indexes()]
    why = (
        corrupted_indexes(store).get(matrix) or f"no matrix '{matrix}' in '{store.root}'; {did_you_mean(matrix, known)}"
    )
    raise ResultsError(why)


def _forget(store: Store, run: str) -> bool:
    if store.state(run) != "failed":
        return False
    with store.claimed(run) as mine:
        result = store.result(run) if mine else None
        if result is None or result["status"] != "failed":
            return False
        reason = (str(result.get("error") or "no message").splitlines() or [""])[0]
        store.log(run, f"this failure is forgotten, the run waits again: {reason}")
        store.clear_result(run)
    return True
