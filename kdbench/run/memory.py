"""When memory runs out: the cohort is halved until it fits, and a run that does not fit alone fails."""

import gc
import traceback
from collections.abc import Callable, Sequence

import torch

from kdbench.errors import TrainingError
from kdbench.matrix import RunSpec
from kdbench.training.memory import is_out_of_memory

REMEDY = "lower recipe.batch_size, choose a smaller network, or set run.workers or run.runs_per_device lower"


def train_within_memory(
    specs: Sequence[RunSpec],
    train: Callable[[Sequence[RunSpec]], None],
    fail: Callable[[RunSpec, TrainingError], None],
    halved: Callable[[Sequence[RunSpec]], None],
) -> None:
    """Train a cohort; where it does not fit, its halves one after the other, each the same way.

    `train` passes over runs that have ended. `fail` gets a run that does not fit alone, `halved` a cohort that is cut.
    """
    reason = _lack_of_memory(specs, train)
    if reason is None:
        return
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if len(specs) == 1:
        fail(specs[0], TrainingError(f"out of memory, alone on its device ({reason}); {REMEDY}"))
        return
    halved(specs)
    half = (len(specs) + 1) // 2
    for part in (specs[:half], specs[half:]):
        train_within_memory(part, train, fail, halved)


def _lack_of_memory(specs: Sequence[RunSpec], train: Callable[[Sequence[RunSpec]], None]) -> str | None:
    try:
        train(specs)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        traceback.clear_frames(error.__traceback__)  # they hold the cohort that did not fit
        return " ".join(str(error).split())[:200] or type(error).__name__
    return None
