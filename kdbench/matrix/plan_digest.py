"""A digest by which an earlier plan is recognized as current, without importing torch."""

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import kdbench
from kdbench.matrix.identity import canonical, digest
from kdbench.matrix.schema import MatrixSpec


def plan_digest(matrix: MatrixSpec, contents: Mapping[str, str | None]) -> str:
    """Return a hash of everything that the plan of a matrix depends on, except for the user's own code and weights.

    It covers the matrix without `[run]`, the source of kdbench, the processor and torch, which determine the precision
    "auto", and the content of the data sets.

    Args:
        matrix: the matrix.
        contents: the fingerprint of each data set, by name.
    """
    inputs = canonical([matrix.model_dump(mode="json", exclude={"run"}), dict(contents)])
    return digest("\n".join([inputs, source_digest(), _processor(), _torch(), _gpus()]))


def source_digest() -> str:
    """Return a hash of the source of kdbench."""
    package = Path(kdbench.__file__).parent
    return digest("\n".join(file.read_text(encoding="utf-8") for file in sorted(package.rglob("*.py"))))


def _processor() -> str:
    """Return the model of the processor and what it supports."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return ""
    first = text.split("\n\n", 1)[0].splitlines()
    return "\n".join(
        line for line in first if line.startswith(("model", "cpu family", "CPU part", "flags", "Features"))
    )


def _torch() -> str:
    """Return the version of torch without importing it."""
    try:
        return version("torch")
    except PackageNotFoundError:
        return ""


def _gpus() -> str:
    return "gpu" if Path("/proc/driver/nvidia").exists() else ""
