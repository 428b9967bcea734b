"""Inference times without a measurement."""

from pathlib import Path

from kdbench.results.timings import Timing, TimingEnvironment, write_timing

HERE = TimingEnvironment.here("cpu", 1)


def make_timing(
    architecture: str, environment: TimingEnvironment = HERE, inference_ms: float = 0.5, measured: str = "2026-01-01"
) -> Timing:
    """Return a timing of an architecture, by default on the CPU of this machine with one thread."""
    return Timing(architecture, environment, measured, {"inference_ms": inference_ms})


def add_timing(folder: Path, architecture: str, environment: TimingEnvironment = HERE) -> Timing:
    """Write a timing into the folder of timings; return it."""
    timing = make_timing(architecture, environment)
    write_timing(folder, timing)
    return timing
