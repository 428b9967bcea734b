"""Where, when and with which software a run was trained."""

import platform
import subprocess
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import kdbench


def provenance() -> dict[str, str | None]:
    """Return the versions of kdbench and torch, kdbench's git commit, and the host's name."""
    return {
        "kdbench_version": kdbench.__version__,
        "git_commit": _git_commit(Path(kdbench.__file__).parent),
        "torch_version": installed_version("torch"),
        "host": platform.node(),
    }


def now() -> str:
    """Return the current time in UTC as ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@cache
def installed_version(package: str) -> str | None:
    """Return the version of a package; None if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


@cache
def _git_commit(folder: Path) -> str | None:
    """Return the commit of a checkout of kdbench, with "+" if files were changed; None for an installed package.

    Read once: later changes are not what this process has imported.
    """
    if not (folder.parent / ".git").exists():
        return None
    try:
        commit = _git(folder, "rev-parse", "--short=12", "HEAD")
        changed = _git(folder, "status", "--porcelain", "--untracked-files=no", "--", ".")
    except (OSError, subprocess.SubprocessError):
        return None
    return commit + ("+" if changed else "")


def _git(folder: Path, *arguments: str) -> str:
    result = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=5, check=True)
    return result.stdout.strip()
