"""The device slots of this machine: where worker processes run, and with how many threads."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, final

from kdbench.errors import KdbenchError


@final
@dataclass(frozen=True)
class Slot:
    """A place for one worker process."""

    device: Literal["cpu", "cuda"]
    threads: int
    environment: Mapping[str, str] = field(default_factory=dict, hash=False)


def slots(devices: Literal["auto", "cpu", "cuda"], workers: int | None, threads: int) -> list[Slot]:
    """One slot per GPU, or without one as many as the cores allow with that many threads each.

    Raises:
        KdbenchError: a GPU is asked for and there is none.
    """
    gpus = [] if devices == "cpu" else gpu_ids()
    if devices == "cuda" and not gpus:
        raise KdbenchError('run.devices is "cuda", but no NVIDIA GPU answers; use "auto" or "cpu"')
    if gpus:
        return [Slot("cuda", threads, {"CUDA_VISIBLE_DEVICES": gpu}) for gpu in gpus[: workers or len(gpus)]]
    return [Slot("cpu", threads, {"CUDA_VISIBLE_DEVICES": ""})] * (workers or max(1, cores() // threads))


def cores() -> int:
    """The processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def gpu_ids() -> list[str]:
    """The UUIDs of the NVIDIA GPUs that answer; none where there is no driver."""
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:  # no library, no driver, no device: each has an error type of its own
        return []
    try:
        handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
        return [_text(pynvml.nvmlDeviceGetUUID(handle)) for handle in handles]
    finally:
        pynvml.nvmlShutdown()


def _text(uuid: str | bytes) -> str:
    return uuid.decode() if isinstance(uuid, bytes) else uuid
