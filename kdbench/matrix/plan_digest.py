"""A digest by which an earlier plan is recognized as current, without importing torch."""

from collections.abc import Mapping
from pathlib import Path

import kdbench
from kdbench.matrix.identity import canonical, digest
from kdbench.matrix.schema import MatrixSpec


def plan_digest(matrix: MatrixSpec, contents: Mapping[str, str | None]) -> str:
    """Return a hash of everything that the plan of a matrix depends on, except for the user's own code and weights.

    It covers the matrix without `[run]`, the source of kdbench, the hardware that determines the precision "auto", and
    the content of the data sets.

    Args:
        matrix: the matrix.
        contents: the fingerprint of each data set, by name.
    """
    inputs = canonical([matrix.model_dump(mode="json", exclude={"run"}), dict(contents)])
    return digest("\n".join([inputs, source_digest(), _bf16_flags(), _gpus()]))


def source_digest() -> str:
    """Return a hash of the source of kdbench."""
    package = Path(kdbench.__file__).parent
    return digest("\n".join(file.read_text(encoding="utf-8") for file in sorted(package.rglob("*.py"))))


def _bf16_flags() -> str:
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return ""
    return " ".join(flag for flag in ("avx512_bf16", "amx_bf16") if flag in flags)


def _gpus() -> str:
    return "gpu" if Path("/proc/driver/nvidia").exists() else ""
