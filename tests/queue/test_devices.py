"""Device slots, with and without GPUs."""

import os
import sys
from types import SimpleNamespace

import pytest

from kdbench.errors import KdbenchError
from kdbench.queue import devices
from kdbench.queue.devices import Slot, count_cores, find_slots, timing_environments
from kdbench.results.hardware import cpu_model


@pytest.fixture
def machine(monkeypatch):
    """`machine(gpus, cores)`: patch the hardware of this machine."""

    def make(gpus: list[str], count: int) -> None:
        monkeypatch.setattr(devices, "list_gpus", lambda: gpus)
        monkeypatch.setattr(devices, "count_cores", lambda: count)

    return make


@pytest.mark.parametrize(("threads", "workers", "expected"), [(1, None, 8), (3, None, 2), (16, None, 1), (4, 5, 5)])
def test_the_cpu_has_as_many_slots_as_its_cores_allow(machine, threads, workers, expected):
    machine([], 8)
    found = find_slots("auto", workers, threads)
    assert [(slot.device, slot.threads) for slot in found] == [("cpu", threads)] * expected
    assert {slot.environment["CUDA_VISIBLE_DEVICES"] for slot in found} == {""}


@pytest.mark.parametrize("key", ["auto", "cuda"])
@pytest.mark.parametrize(("workers", "expected"), [(None, ["GPU-a", "GPU-b"]), (1, ["GPU-a"]), (5, ["GPU-a", "GPU-b"])])
def test_each_gpu_has_one_slot_that_sees_only_this_gpu(machine, key, workers, expected):
    machine(["GPU-a", "GPU-b"], 8)
    assert find_slots(key, workers, 2) == [Slot("cuda", 2, {"CUDA_VISIBLE_DEVICES": gpu}) for gpu in expected]


def test_second_slots_of_gpus_follow_the_first_slot_of_every_gpu(machine):
    machine(["GPU-a", "GPU-b"], 8)
    assert [slot.gpu for slot in find_slots("auto", None, 1, 2)] == ["GPU-a", "GPU-b", "GPU-a", "GPU-b"]
    assert [slot.gpu for slot in find_slots("auto", 1, 1, 3)] == ["GPU-a"] * 3


def test_runs_per_device_does_not_apply_to_the_cpu(machine):
    machine([], 2)
    assert [slot.gpu for slot in find_slots("auto", None, 1, 4)] == [None, None]


def test_cpu_slots_use_no_gpu(machine):
    machine(["GPU-a"], 2)
    assert [slot.device for slot in find_slots("cpu", None, 1)] == ["cpu", "cpu"]


def test_cuda_without_a_gpu_is_an_error(machine):
    machine([], 8)
    with pytest.raises(
        KdbenchError, match=r'^run.devices is "cuda", but no NVIDIA GPU was found; use "auto" or "cpu"$'
    ):
        find_slots("cuda", None, 1)


def test_cores_are_those_that_this_process_may_use(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5, 6}, raising=False)
    assert count_cores() == 3


def test_without_affinity_all_cores_are_counted(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert count_cores() == 6


class FakeNVML:
    """A fake of the NVIDIA management library."""

    NVMLError = LookupError

    def __init__(self, uuids, used=(), free=0):
        self.uuids, self.open, self.used, self.free = uuids, False, used, free

    def nvmlInit(self):
        if self.uuids is None:
            raise OSError("no driver")
        self.open = True

    def nvmlShutdown(self):
        self.open = False

    def nvmlDeviceGetCount(self):
        return len(self.uuids)

    def nvmlDeviceGetHandleByIndex(self, index):
        return index

    def nvmlDeviceGetUUID(self, handle):
        return self.uuids[handle]

    def nvmlDeviceGetHandleByUUID(self, uuid):
        return dict.fromkeys(self.uuids, uuid)[uuid]

    def nvmlDeviceGetName(self, handle):
        return f"NVIDIA {handle}".encode()

    def nvmlDeviceGetComputeRunningProcesses(self, handle):
        return [SimpleNamespace(usedGpuMemory=used) for used in self.used]

    def nvmlDeviceGetMemoryInfo(self, handle):
        return SimpleNamespace(free=self.free)


@pytest.mark.parametrize(("uuids", "expected"), [(None, []), ([], []), (["GPU-a", b"GPU-b"], ["GPU-a", "GPU-b"])])
def test_gpus_are_listed_by_the_driver(monkeypatch, uuids, expected):
    driver = FakeNVML(uuids)
    monkeypatch.setitem(sys.modules, "pynvml", driver)
    assert devices.list_gpus() == expected
    assert not driver.open


@pytest.mark.parametrize(
    ("used", "free", "expected"),
    [((3, 5), 5, True), ((3, 5), 4, False), ((), 9, False), ((3, None), 9, False)],
    ids=["enough", "too little", "no process yet", "not reported"],
)
def test_free_memory_must_fit_the_largest_process(monkeypatch, used, free, expected):
    driver = FakeNVML(["GPU-a"], used, free)
    monkeypatch.setitem(sys.modules, "pynvml", driver)
    assert devices.has_free_memory("GPU-a") is expected
    assert not driver.open


@pytest.mark.parametrize("uuids", [None, ["GPU-b"]], ids=["no driver", "no such GPU"])
def test_without_information_from_the_driver_no_memory_is_free(monkeypatch, uuids):
    monkeypatch.setitem(sys.modules, "pynvml", FakeNVML(uuids, [1], 9))
    assert devices.has_free_memory("GPU-a") is False


def test_the_environments_of_the_slots_name_each_gpu_once(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", FakeNVML(["GPU-a", "GPU-b"], [1], 9))
    slots = find_slots("auto", None, 2, 2)
    assert [one.device for one in timing_environments(slots)] == ["NVIDIA GPU-a", "NVIDIA GPU-b"]
    assert {(one.threads, one.processor) for one in timing_environments(slots)} == {(2, cpu_model())}
    assert [one.device for one in timing_environments(find_slots("cpu", 3, 1))] == ["cpu"]
