"""`kdbench merge`: copy runs from one results folder into another."""

from pathlib import Path

from rich.console import Console

from kdbench.cli.console import print_line
from kdbench.formatting import count_of
from kdbench.results import Store
from kdbench.results.merge import merge


def merge_folders(into: Path, source: Path, console: Console) -> None:
    """Copy the runs that `into` lacks or holds corrupted from `source`; print what was not copied, and why.

    Raises:
        ResultsError: a results folder does not exist, or the two are incompatible.
    """
    from kdbench.results.table import export

    store = Store(into, create=False)
    merged = merge(store, Store(source, create=False))
    for note in [*merged.notes, *export(store)[1]]:
        print_line(console, note, style="yellow")
    counts = {"run": merged.runs, "matrix file": merged.matrices, "timing": merged.timings, "session": merged.sessions}
    copied = ", ".join(count_of(len(found), noun) for noun, found in counts.items())
    print_line(console, f"copied from {source} into {into}: {copied}")
