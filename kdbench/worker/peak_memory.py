"""The peak memory of a cohort: of a GPU, or of the worker's process."""

import os
from pathlib import Path

import torch

CLEAR_REFS = Path("/proc/self/clear_refs")
STATUS = Path("/proc/self/status")


def reset_peak_memory(device: torch.device) -> None:
    """Start the measurement of `peak_memory_mb` again; call it before a cohort is built."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif _can_reset():
        CLEAR_REFS.write_text("5", encoding="ascii")  # resets VmHWM


def peak_memory_mb(device: torch.device) -> float | None:
    """Return the peak memory since `reset_peak_memory`, in MiB; None where the system cannot reset it.

    On a GPU it is the memory that torch allocated, on the CPU the resident memory of the process. It is that of all
    runs of the cohort together.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    if not _can_reset():
        return None
    fields = (line.split() for line in STATUS.read_text(encoding="utf-8").splitlines())
    return next((int(field[1]) / 2**10 for field in fields if field[:1] == ["VmHWM:"]), None)


def _can_reset() -> bool:
    """Return whether Linux lets the process reset its peak; elsewhere the peak is that of all its cohorts."""
    return os.access(CLEAR_REFS, os.W_OK)
