"""Whether a plan made earlier still holds, found out without importing torch."""

from collections.abc import Mapping
from pathlib import Path

import kdbench
from kdbench.matrix.identity import canonical, digest
from kdbench.matrix.schema import MatrixSpec


def plan_digest(matrix: MatrixSpec, contents: Mapping[str, str | None]) -> str:
    """A hash of everything that the plan of a matrix depends on, but for the source of a user's own classes.

    In it: the matrix, kdbench's own source, what decides the precision "auto", and the content of the data sets
    (name -> fingerprint).
    """
    asked = canonical([matrix.model_dump(mode="json", exclude={"run"}), dict(contents)])
    return digest("\n".join([asked, source_digest(), _bf16_flags(), _gpus()]))


def source_digest() -> str:
    """A hash of kdbench's own source."""
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
