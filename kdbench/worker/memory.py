"""Fit a cohort into memory: by an estimate before it trains, and by halving it after an out-of-memory error."""

import ctypes
import gc
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from kdbench.errors import TrainingError
from kdbench.matrix import RunSpec
from kdbench.training.member import Member
from kdbench.training.memory import clear_frames, is_out_of_memory

REMEDY = "lower recipe.batch_size, choose a smaller network, or set run.workers or run.runs_per_device lower"

COPIES = {"sgd": 4, "adam": 5, "adamw": 5}  # of each parameter: weight, gradient, moments, weight of the best epoch


def check_memory(member: Member, count: int, device: torch.device) -> None:
    """Check that `count` members like this one fit into memory; a single member is always tried.

    Raises:
        MemoryError: their weights, gradients and optimizer states exceed the free memory.
    """
    needed, free = count * _parameter_bytes(member), free_memory(device)
    if count > 1 and needed > free:
        raise MemoryError(f"{count} runs need about {needed / 2**30:.1f} GiB, and {free / 2**30:.1f} GiB are free")


def _parameter_bytes(member: Member) -> int:
    players = member.method.players().values()
    return (
        sum(p.numel() * p.element_size() for player in players for p in player.parameters())
        * COPIES[member.recipe.optimizer.name]
    )


def free_memory(device: torch.device) -> int:
    """Return the bytes of free memory on a device."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:  # not Linux
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    kib = next(line.split()[1] for line in lines if line.startswith("MemAvailable:"))
    return int(kib) * 1024


def train_within_memory(
    specs: Sequence[RunSpec],
    train: Callable[[Sequence[RunSpec]], None],
    fail: Callable[[RunSpec, TrainingError], None],
    on_halved: Callable[[Sequence[RunSpec]], None],
) -> None:
    """Train a cohort; if it does not fit into memory, train its halves one after the other, in the same way.

    Args:
        specs: the runs of the cohort.
        train: trains those of the runs that are not finished.
        fail: called with a run that does not fit alone, and the error.
        on_halved: called with a cohort before it is halved.
    """
    _free_earlier_cohorts()
    reason = _out_of_memory(specs, train)
    if reason is None:
        return
    if len(specs) == 1:
        fail(specs[0], TrainingError(f"out of memory, alone on its device ({reason}); {REMEDY}"))
        return
    on_halved(specs)
    half = (len(specs) + 1) // 2
    for part in (specs[:half], specs[half:]):
        train_within_memory(part, train, fail, on_halved)


def _free_earlier_cohorts() -> None:
    """Collect earlier cohorts, which are in reference cycles: freeing CUDA graphs later would disturb this cohort."""
    gc.collect()
    _trim_heap()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _trim_heap() -> None:
    """Return the memory of freed tensors, which workers keep, to the system; does nothing without glibc."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _out_of_memory(specs: Sequence[RunSpec], train: Callable[[Sequence[RunSpec]], None]) -> str | None:
    """Train a cohort; return the message of an out-of-memory error, or None."""
    try:
        train(specs)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        clear_frames(error)  # they hold the cohort that did not fit
        return " ".join(str(error).split())[:200] or type(error).__name__
    return None
