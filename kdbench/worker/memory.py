"""A cohort is as large as fits: by estimate before it begins, and halved where memory runs out all the same."""

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

COPIES = {"sgd": 4, "adam": 5, "adamw": 5}  # of what trains: weights, gradients, moments, the best epoch's weights


def check_room(member: Member, count: int, device: torch.device) -> None:
    """Whether `count` members like this one leave memory for anything else; one alone is always tried.

    Raises:
        MemoryError: their weights and what belongs to these would not fit.
    """
    needed, there = count * _bytes(member), free_memory(device)
    if count > 1 and needed > there:
        raise MemoryError(f"{count} runs need about {needed / 2**30:.1f} GiB, and {there / 2**30:.1f} are free")


def _bytes(member: Member) -> int:
    players = member.method.players().values()
    return (
        sum(p.numel() * p.element_size() for one in players for p in one.parameters())
        * COPIES[member.recipe.optimizer.name]
    )


def free_memory(device: torch.device) -> int:
    """Bytes that can be had on a device now."""
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
    halved: Callable[[Sequence[RunSpec]], None],
) -> None:
    """Train a cohort; where it does not fit, its halves one after the other, each the same way.

    `train` passes over runs that have ended. `fail` gets a run that does not fit alone, `halved` a cohort that is cut.
    """
    _free_earlier_cohorts()
    reason = _lack_of_memory(specs, train)
    if reason is None:
        return
    if len(specs) == 1:
        fail(specs[0], TrainingError(f"out of memory, alone on its device ({reason}); {REMEDY}"))
        return
    halved(specs)
    half = (len(specs) + 1) // 2
    for part in (specs[:half], specs[half:]):
        train_within_memory(part, train, fail, halved)


def _free_earlier_cohorts() -> None:
    """They lie in cycles; CUDA graphs among them, freed later, would take along the workspaces of their streams."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _lack_of_memory(specs: Sequence[RunSpec], train: Callable[[Sequence[RunSpec]], None]) -> str | None:
    try:
        train(specs)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        clear_frames(error)  # they hold the cohort that did not fit
        return " ".join(str(error).split())[:200] or type(error).__name__
    return None
