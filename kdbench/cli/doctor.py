"""`kdbench doctor`: check the machine and the results folder."""

import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from kdbench import __version__
from kdbench.cli.console import command
from kdbench.errors import KdbenchError, printable_lines
from kdbench.formatting import count_of, format_bytes

PACKAGES = ("torch", "torchvision", "timm", "optuna", "pandas", "pyarrow", "scikit-learn", "rich", "typer", "pydantic")


@final
@dataclass(frozen=True)
class Check:
    """One check of the machine or of the results folder."""

    ok: bool
    name: str
    found: str


def print_checks(results: Path, as_json: bool, console: Console) -> bool:
    """Print every check; return True if all passed."""
    checks = [*_versions(), *_devices(), *_precision(), *_compiler(), *_data(), *_folder(results), *_content(results)]
    if as_json:
        console.print_json(data=list(map(asdict, checks)))
    else:
        grid = Table.grid(padding=(0, 2))
        for check in checks:
            mark = Text("ok" if check.ok else "!!", style="green" if check.ok else "red")
            grid.add_row(mark, Text(check.name), Text(printable_lines(check.found)))
        console.print(grid)
    return all(check.ok for check in checks)


def _versions() -> Iterator[Check]:
    yield Check(True, "kdbench", __version__)
    yield Check(sys.version_info >= (3, 11), "python", ".".join(map(str, sys.version_info[:3])))
    for package in PACKAGES:
        try:
            yield Check(True, package, version(package))
        except PackageNotFoundError:
            yield Check(False, package, f"not installed; run `pip install {package}`")


def _devices() -> Iterator[Check]:
    from kdbench.queue.devices import count_cores, find_slots, list_gpus

    yield Check(True, "GPUs", ", ".join(list_gpus()) or "none found; running on the CPU")
    found = find_slots("auto", None, 1)
    threads = count_of(found[0].threads, "thread")
    yield Check(True, "device slots", f"{len(found)} x {found[0].device}, {threads} each, {count_cores()} cores")


def _precision() -> Iterator[Check]:
    from kdbench.plan.bf16_ratio import cached_bf16_ratio
    from kdbench.training.precision import is_bf16_slow, resolve_precision

    found: str = resolve_precision("auto", cached_bf16_ratio)
    if is_bf16_slow(cached_bf16_ratio):
        found += (
            f"; this processor has bf16, but torch {version('torch')} runs its bf16 convolutions with slow reference "
            f"code: {cached_bf16_ratio():.0f} times the time of fp32"
        )
    yield Check(True, 'precision "auto"', found)


def _compiler() -> Iterator[Check]:
    from kdbench.worker.compiler import missing_compiler

    missing = missing_compiler()
    yield Check(True, "run.compile", "available" if missing is None else f"unavailable: no {missing}")


def _data() -> Iterator[Check]:
    from kdbench import data
    from kdbench.data.cache import cache_folder
    from kdbench.matrix import DataSpec

    yield _attempt("data cache", lambda: str(cache_folder()))
    yield _attempt("digits", lambda: f"content {data.get_fingerprint(DataSpec('digits', 'digits'))}")


def _folder(results: Path) -> Iterator[Check]:
    from kdbench.results import Store

    if not results.exists():
        yield Check(True, "results folder", f"{results} (will be created)")
        return
    free = shutil.disk_usage(results).free

    def check_writable() -> str:
        Store(results, create=False).check_writable()
        return f"{results}, {format_bytes(free)} free"

    yield _attempt("results folder", check_writable)


def _content(results: Path) -> Iterator[Check]:
    """Check the results folder for corrupted files and leftovers."""
    from kdbench.results import Store, leftovers
    from kdbench.results.integrity import corrupt_files

    try:
        store = Store(results, create=False)
    except KdbenchError:
        return  # reported by the check of the folder
    for run in store.run_ids():
        reason = store.corruption(run)
        if reason is not None:
            yield Check(False, "corrupted run", f"{run}: {reason}; `kdbench run` trains it again")
    for text in corrupt_files(store):
        yield Check(False, "corrupted file", text)
    found = list(leftovers.find(store))
    if found:
        size = format_bytes(sum(leftover.bytes for leftover in found))
        clean = command("clean", results=results)
        yield Check(True, "leftovers", f"{count_of(len(found), 'file')}, {size}; `{clean}` removes them")


def _attempt(name: str, action: Callable[[], str]) -> Check:
    try:
        return Check(True, name, action())
    except KdbenchError as error:
        return Check(False, name, str(error))
