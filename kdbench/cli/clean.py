"""`kdbench clean`: remove files left by crashed attempts."""

from collections import Counter
from pathlib import Path
from typing import Any

from rich.console import Console

from kdbench.cli.console import print_line
from kdbench.errors import encodable, printable
from kdbench.formatting import count_of, format_bytes
from kdbench.results import Store, leftovers


def clean_results(dry_run: bool, results: Path, as_json: bool, console: Console) -> None:
    """Remove leftovers and print their kinds and sizes; with `dry_run` remove nothing.

    Raises:
        ResultsError: the results folder does not exist.
        StorageError: it cannot be read or written.
    """
    store = Store(results, create=False)
    found = [leftover for leftover in leftovers.find(store) if dry_run or leftovers.remove(store, leftover)]
    if as_json:
        files = [{"path": encodable(str(one.path)), "kind": one.kind, "bytes": one.bytes} for one in found]
        console.print_json(data={"removed": not dry_run, "files": files})
        return
    if dry_run:
        for leftover in found:
            print_line(console, f"{printable(str(leftover.path))} ({leftover.kind})")
    for line in _summarize(found, "would remove" if dry_run else "removed"):
        print_line(console, line)
    if not found:
        print_line(console, "nothing to clean")


def _summarize(found: list[Any], verb: str) -> list[str]:
    count, size = Counter[str](), Counter[str]()
    for leftover in found:
        count[leftover.kind] += 1
        size[leftover.kind] += leftover.bytes
    return [f"{verb}: {kind}: {count_of(count[kind], 'file')}, {format_bytes(size[kind])}" for kind in count]
