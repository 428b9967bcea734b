"""`kdbench doctor`: whether this machine can do the work."""

import shutil
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from kdbench import __version__
from kdbench.errors import KdbenchError

PACKAGES = ("torch", "torchvision", "timm", "optuna", "pandas", "pyarrow", "scikit-learn", "rich", "typer", "pydantic")
Check = tuple[bool, str, str]  # whether it is well, what was looked at, what was found


def print_checks(results: Path, console: Console) -> bool:
    """Print every check, and say whether all went well."""
    checks = [check for look in (_versions, _devices, _precision, _compiler, _data) for check in look()]
    checks += [_folder(results), *_content(results)]
    grid = Table.grid(padding=(0, 2))
    for well, what, found in checks:
        grid.add_row(Text("ok" if well else "!!", style="green" if well else "red"), Text(what), Text(found))
    console.print(grid)
    return all(well for well, _, _ in checks)


def _versions() -> Iterator[Check]:
    yield True, "kdbench", __version__
    yield sys.version_info >= (3, 11), "python", ".".join(map(str, sys.version_info[:3]))
    for package in PACKAGES:
        try:
            yield True, package, version(package)
        except PackageNotFoundError:
            yield False, package, "not installed; install kdbench again"


def _devices() -> Iterator[Check]:
    from kdbench.queue.devices import count_cores, find_slots, list_gpus

    gpus = list_gpus()
    yield True, "GPUs", ", ".join(gpus) or "none answers; kdbench runs on the processor"
    places = find_slots("auto", None, 1)
    yield (
        True,
        "worker slots",
        f"{len(places)} x {places[0].device}, {places[0].threads} thread each, {count_cores()} cores",
    )


def _precision() -> Iterator[Check]:
    from kdbench.training.precision import resolve_precision

    yield True, 'precision "auto"', resolve_precision("auto")


def _compiler() -> Iterator[Check]:
    from kdbench.worker.compiler import missing_compiler

    lack = missing_compiler()
    yield True, "run.compile", "can be used" if lack is None else f"cannot be used: there is no {lack}"


def _data() -> Iterator[Check]:
    from kdbench import data
    from kdbench.data.cache import cache_folder
    from kdbench.matrix import DataSpec

    yield _tried("data cache", lambda: str(cache_folder()))
    yield _tried("digits", lambda: f"content {data.get_fingerprint(DataSpec('digits', 'digits'))}")


def _tried(what: str, action: Callable[[], str]) -> Check:
    try:
        return True, what, action()
    except KdbenchError as error:
        return False, what, str(error)


def _folder(results: Path) -> Check:
    from kdbench.results import Store

    if not results.exists():
        return True, "results folder", f"{results} (will be made)"
    free = shutil.disk_usage(results).free / 2**30

    def found() -> str:
        Store(results, create=False).check_writable()
        return f"{results}, {free:.1f} GiB free"

    return _tried("results folder", found)


def _content(results: Path) -> Iterator[Check]:
    """Whether what was computed is whole, and what is left over."""
    from kdbench.formatting import format_bytes
    from kdbench.results import Store, leftovers
    from kdbench.results.integrity import corrupt_files

    try:
        store = Store(results, create=False)
    except KdbenchError:
        return  # told as the check of the folder
    for run in store.run_ids():
        why = store.corruption(run)
        if why is not None:
            yield False, "corrupted run", f"{run}: {why}; `kdbench run` trains it again"
    for text in corrupt_files(store):
        yield False, "corrupted file", text
    found = list(leftovers.find(store))
    if found:
        size = format_bytes(sum(leftover.bytes for leftover in found))
        yield True, "leftovers", f"{len(found)} files, {size}; `kdbench clean` removes them"
