"""The device slots of this machine: where worker processes run, and with how many threads."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, final

from kdbench.errors import KdbenchError


@final
@dataclass(frozen=True)
class Slot:
    """A place for one worker process."""

    device: Literal["cpu", "cuda"]
    threads: int
    environment: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def gpu(self) -> str | None:
        """The GPU that it is on."""
        return self.environment["CUDA_VISIBLE_DEVICES"] if self.device == "cuda" else None


def find_slots(
    devices: Literal["auto", "cpu", "cuda"], workers: int | None, threads: int, runs_per_device: int = 1
) -> list[Slot]:
    """`runs_per_device` slots on each GPU, or without one as many as the cores allow with that many threads each.

    Raises:
        KdbenchError: a GPU is asked for and there is none.
    """
    gpus = [] if devices == "cpu" else list_gpus()
    if devices == "cuda" and not gpus:
        raise KdbenchError('run.devices is "cuda", but no NVIDIA GPU answers; use "auto" or "cpu"')
    if gpus:
        used = gpus[: workers or len(gpus)] * runs_per_device
        return [Slot("cuda", threads, {"CUDA_VISIBLE_DEVICES": gpu}) for gpu in used]
    return [Slot("cpu", threads, {"CUDA_VISIBLE_DEVICES": ""})] * (workers or max(1, count_cores() // threads))


def count_cores() -> int:
    """The processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def list_gpus() -> list[str]:
    """The UUIDs of the NVIDIA GPUs that answer; none where there is no driver."""
    with _driver() as nvml:
        if nvml is None:
            return []
        handles = [nvml.nvmlDeviceGetHandleByIndex(i) for i in range(nvml.nvmlDeviceGetCount())]
        return [_text(nvml.nvmlDeviceGetUUID(handle)) for handle in handles]


def has_free_memory(gpu: str) -> bool:
    """Whether as much memory is free on a GPU as the largest process there uses; no where its driver cannot tell."""
    with _driver() as nvml:
        if nvml is None:
            return False
        try:
            handle = nvml.nvmlDeviceGetHandleByUUID(gpu)
            used = [process.usedGpuMemory for process in nvml.nvmlDeviceGetComputeRunningProcesses(handle)]
            free = nvml.nvmlDeviceGetMemoryInfo(handle).free
        except nvml.NVMLError:
            return False
    return bool(used) and None not in used and free >= max(used)


@contextmanager
def _driver() -> Iterator[Any]:
    """NVIDIA's library, opened; None where it does not answer."""
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:  # no library, no driver, no device: each has an error type of its own
        yield None
        return
    try:
        yield pynvml
    finally:
        pynvml.nvmlShutdown()


def _text(uuid: str | bytes) -> str:
    return uuid.decode() if isinstance(uuid, bytes) else uuid
