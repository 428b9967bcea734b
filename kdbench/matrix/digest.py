"""Whether a plan made earlier still holds, found out without importing torch."""

from pathlib import Path

import kdbench
from kdbench.matrix.recipe import canonical, digest
from kdbench.matrix.schema import Matrix


def plan_digest(matrix: Matrix) -> str:
    """A hash of everything that the plan of a matrix depends on, but for the source of a user's own classes.

    In it: the matrix, kdbench's own source, the files of the data sets, and what decides the precision "auto".
    """
    asked = canonical(matrix.model_dump(mode="json", exclude={"run"}))
    return digest("\n".join([asked, _source(), *_files(matrix), _bf16_flags(), _gpus()]))


def _source() -> str:
    package = Path(kdbench.__file__).parent
    return digest("\n".join(file.read_text(encoding="utf-8") for file in sorted(package.rglob("*.py"))))


def _files(matrix: Matrix) -> list[str]:
    roots = [Path(str(t.options["root"])).expanduser() for t in matrix.dataset.values() if "root" in t.options]
    files = [file for root in roots for file in (root, *sorted(root.rglob("*"))) if file.exists()]
    return [f"{file}:{file.stat().st_size}:{file.stat().st_mtime_ns}" for file in files]


def _bf16_flags() -> str:
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return ""
    return " ".join(flag for flag in ("avx512_bf16", "amx_bf16") if flag in flags)


def _gpus() -> str:
    return "gpu" if Path("/proc/driver/nvidia").exists() else ""
