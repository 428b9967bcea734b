"""Inference times of deployed networks, one file per architecture and environment."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, final

from filelock import FileLock
from pydantic import TypeAdapter, ValidationError

from kdbench.errors import ResultsError
from kdbench.formatting import count_of
from kdbench.matrix.identity import canonical, digest
from kdbench.results.files import read_checked_json, write_checked_json
from kdbench.results.hardware import cpu_model
from kdbench.results.names import is_architecture
from kdbench.results.provenance import installed_version
from kdbench.results.row_values import TIMED, values_corruption


@final
@dataclass(frozen=True, order=True)
class TimingEnvironment:
    """Where inference was timed. Times of two environments do not compare."""

    processor: str  # model of the CPU, which launches the kernels of a GPU
    device: str  # "cpu" or the name of the GPU
    torch_version: str
    threads: int
    precision: str = "fp32"

    @classmethod
    def here(cls, device: str, threads: int) -> "TimingEnvironment":
        """Return the environment of a worker on this machine, on the "cpu" or on a GPU of this name."""
        return cls(cpu_model(), device, installed_version("torch") or "", threads)

    def __str__(self) -> str:
        threads = count_of(self.threads, "CPU thread")
        place = self.processor if self.device == "cpu" else f"{self.device} with {self.processor}"
        return f"{place}, {threads}, {self.precision}, torch {self.torch_version}"


@final
@dataclass(frozen=True)
class Timing:
    """The inference times of an architecture in one environment, by column."""

    architecture: str
    environment: TimingEnvironment
    measured: str  # in UTC, ISO 8601
    times: Mapping[str, float] = field(hash=False)

    @property
    def key(self) -> str:
        """The stem of its file."""
        return f"{self.architecture}-{digest(canonical(asdict(self.environment)))[:8]}"

    @property
    def columns(self) -> dict[str, Any]:
        """The columns of the results: the times, and where they were measured."""
        environment = {f"timing_{key}": value for key, value in asdict(self.environment).items()}
        return {**self.times, **environment, "timing_measured": self.measured}


def read_timing(path: Path) -> Timing | None:
    """Return the content of a file of inference times; None if it is missing or corrupted."""
    try:
        timing = _adapter().validate_python(read_checked_json(path))
    except (FileNotFoundError, ResultsError, ValidationError):
        return None
    is_timing = (
        is_architecture(timing.architecture) and timing.key == path.stem and timing.columns.keys() <= TIMED.keys()
    )
    return timing if is_timing and values_corruption(timing.columns, TIMED, TIMED) is None else None


def read_timings(folder: Path) -> list[Timing]:
    """Return all inference times of a folder, in the order of their keys; corrupted files are skipped."""
    return [timing for path in sorted(folder.glob("*.json")) if (timing := read_timing(path)) is not None]


def write_timing(folder: Path, timing: Timing) -> None:
    """Write inference times."""
    write_checked_json(folder / f"{timing.key}.json", asdict(timing))


def timing_lock(folder: Path) -> FileLock:
    """Return the lock for timing inference: simultaneous measurements would slow each other down."""
    return FileLock(folder / "lock")


def timed_architectures(folder: Path, environments: Collection[TimingEnvironment]) -> frozenset[str]:
    """Return the architectures that were timed in one of these environments.

    Without environments, because where jobs run is not known: in any that has the torch that is installed here.
    """
    torch = installed_version("torch")
    return frozenset(
        timing.architecture
        for timing in read_timings(folder)
        if timing.environment in environments or (not environments and timing.environment.torch_version == torch)
    )


def choose_timings(timings: Iterable[Timing], architectures: Iterable[str]) -> dict[str, Timing]:
    """Return one timing per architecture, all of one environment if there is one that has them all.

    An architecture that was not timed in the environment with most of the architectures (of several, the one that was
    timed last) has its timing from the next environment.
    """
    wanted = set(architectures)
    found = [timing for timing in timings if timing.architecture in wanted]
    counts = Counter(timing.environment for timing in found)
    latest = {timing.environment: timing.measured for timing in sorted(found, key=lambda timing: timing.measured)}
    ranked = sorted(found, key=lambda t: (counts[t.environment], latest[t.environment], t.environment))
    return {timing.architecture: timing for timing in ranked}


@cache
def _adapter() -> TypeAdapter[Timing]:
    return TypeAdapter(Timing)
