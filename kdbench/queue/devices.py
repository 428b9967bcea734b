"""Device slots of this machine: where worker processes run, and with how many threads."""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, final

from kdbench.errors import KdbenchError
from kdbench.results.timings import TimingEnvironment


@final
@dataclass(frozen=True)
class Slot:
    """A device slot: runs one worker process at a time."""

    device: Literal["cpu", "cuda"]
    threads: int
    environment: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def gpu(self) -> str | None:
        """The UUID of the slot's GPU; None on the CPU."""
        return self.environment["CUDA_VISIBLE_DEVICES"] if self.device == "cuda" else None


def find_slots(
    devices: Literal["auto", "cpu", "cuda"], workers: int | None, threads: int, runs_per_device: int = 1
) -> list[Slot]:
    """Return the device slots of this machine.

    With GPUs, each has `runs_per_device` slots, and `workers` limits the number of GPUs. On the CPU there are `workers`
    slots, by default as many as the cores allow with `threads` threads each.

    Raises:
        KdbenchError: `devices` is "cuda" and there is no GPU.
    """
    gpus = [] if devices == "cpu" else list_gpus()
    if devices == "cuda" and not gpus:
        raise KdbenchError('run.devices is "cuda", but no NVIDIA GPU was found; use "auto" or "cpu"')
    if gpus:
        used = gpus[: workers or len(gpus)] * runs_per_device
        return [Slot("cuda", threads, {"CUDA_VISIBLE_DEVICES": gpu}) for gpu in used]
    return [Slot("cpu", threads, {"CUDA_VISIBLE_DEVICES": ""})] * (workers or max(1, count_cores() // threads))


def count_cores() -> int:
    """Return the number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def list_gpus() -> list[str]:
    """Return the UUIDs of the NVIDIA GPUs; empty without a driver."""
    with _open_nvml() as nvml:
        if nvml is None:
            return []
        handles = [nvml.nvmlDeviceGetHandleByIndex(i) for i in range(nvml.nvmlDeviceGetCount())]
        return [_decode(nvml.nvmlDeviceGetUUID(handle)) for handle in handles]


def timing_environments(slots: Iterable[Slot]) -> tuple[TimingEnvironment, ...]:
    """Return the environments in which workers on these slots time inference."""
    names = ((_gpu_name(slot.gpu) if slot.gpu else "cpu", slot.threads) for slot in slots)
    return tuple(TimingEnvironment.here(device, threads) for device, threads in dict.fromkeys(names))


def _gpu_name(uuid: str) -> str:
    """Return the name of a GPU as torch gives it; empty without a driver."""
    with _open_nvml() as nvml:
        return "" if nvml is None else _decode(nvml.nvmlDeviceGetName(nvml.nvmlDeviceGetHandleByUUID(uuid)))


def has_free_memory(gpu: str) -> bool:
    """Return whether a GPU has as much free memory as its largest process uses; False if neither is reported."""
    with _open_nvml() as nvml:
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
def _open_nvml() -> Iterator[Any]:
    """Open the NVIDIA management library; yield None if it is unavailable."""
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:  # a missing library, driver or device each raises its own type
        yield None
        return
    try:
        yield pynvml
    finally:
        pynvml.nvmlShutdown()


def _decode(text: str | bytes) -> str:
    return text.decode() if isinstance(text, bytes) else text
