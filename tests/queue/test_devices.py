"""Slots for workers, with and without GPUs."""

import os
import sys
from types import SimpleNamespace

import pytest

from kdbench.errors import KdbenchError
from kdbench.queue import devices
from kdbench.queue.devices import Slot, count_cores, find_slots


@pytest.fixture
def machine(monkeypatch):
    """`machine(gpus, cores)`: what the machine is taken to have."""

    def make(gpus: list[str], count: int) -> None:
        monkeypatch.setattr(devices, "list_gpus", lambda: gpus)
        monkeypatch.setattr(devices, "count_cores", lambda: count)

    return make


@pytest.mark.parametrize(("threads", "workers", "expected"), [(1, None, 8), (3, None, 2), (16, None, 1), (4, 5, 5)])
def test_the_processor_has_as_many_slots_as_its_cores_allow(machine, threads, workers, expected):
    machine([], 8)
    found = find_slots("auto", workers, threads)
    assert [(slot.device, slot.threads) for slot in found] == [("cpu", threads)] * expected
    assert {slot.environment["CUDA_VISIBLE_DEVICES"] for slot in found} == {""}


@pytest.mark.parametrize("asked", ["auto", "cuda"])
@pytest.mark.parametrize(("workers", "expected"), [(None, ["GPU-a", "GPU-b"]), (1, ["GPU-a"]), (5, ["GPU-a", "GPU-b"])])
def test_each_gpu_has_one_slot_that_sees_no_other(machine, asked, workers, expected):
    machine(["GPU-a", "GPU-b"], 8)
    assert find_slots(asked, workers, 2) == [Slot("cuda", 2, {"CUDA_VISIBLE_DEVICES": gpu}) for gpu in expected]


def test_further_slots_of_a_gpu_come_after_the_first_of_each(machine):
    machine(["GPU-a", "GPU-b"], 8)
    assert [slot.gpu for slot in find_slots("auto", None, 1, 2)] == ["GPU-a", "GPU-b", "GPU-a", "GPU-b"]
    assert [slot.gpu for slot in find_slots("auto", 1, 1, 3)] == ["GPU-a"] * 3


def test_the_processor_has_no_further_slots(machine):
    machine([], 2)
    assert [slot.gpu for slot in find_slots("auto", None, 1, 4)] == [None, None]


def test_gpus_are_left_alone_if_the_processor_is_asked_for(machine):
    machine(["GPU-a"], 2)
    assert [slot.device for slot in find_slots("cpu", None, 1)] == ["cpu", "cpu"]


def test_a_gpu_that_is_not_there_is_refused(machine):
    machine([], 8)
    with pytest.raises(KdbenchError, match=r'^run.devices is "cuda", but no NVIDIA GPU answers; use "auto" or "cpu"$'):
        find_slots("cuda", None, 1)


def test_the_cores_are_those_that_this_process_may_use(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5, 6}, raising=False)
    assert count_cores() == 3


def test_without_affinity_all_cores_count(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert count_cores() == 6


class Driver:
    """Stands in for NVIDIA's library."""

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

    def nvmlDeviceGetHandleByIndex(self, place):
        return place

    def nvmlDeviceGetUUID(self, handle):
        return self.uuids[handle]

    def nvmlDeviceGetHandleByUUID(self, uuid):
        return dict.fromkeys(self.uuids, uuid)[uuid]

    def nvmlDeviceGetComputeRunningProcesses(self, handle):
        return [SimpleNamespace(usedGpuMemory=used) for used in self.used]

    def nvmlDeviceGetMemoryInfo(self, handle):
        return SimpleNamespace(free=self.free)


@pytest.mark.parametrize(("uuids", "expected"), [(None, []), ([], []), (["GPU-a", b"GPU-b"], ["GPU-a", "GPU-b"])])
def test_gpus_are_named_by_the_driver(monkeypatch, uuids, expected):
    driver = Driver(uuids)
    monkeypatch.setitem(sys.modules, "pynvml", driver)
    assert devices.list_gpus() == expected
    assert not driver.open


@pytest.mark.parametrize(
    ("used", "free", "room"),
    [((3, 5), 5, True), ((3, 5), 4, False), ((), 9, False), ((3, None), 9, False)],
    ids=["enough", "too little", "nobody seen yet", "not told"],
)
def test_there_is_room_for_as_much_as_the_largest_process_uses(monkeypatch, used, free, room):
    driver = Driver(["GPU-a"], used, free)
    monkeypatch.setitem(sys.modules, "pynvml", driver)
    assert devices.has_free_memory("GPU-a") is room
    assert not driver.open


@pytest.mark.parametrize("uuids", [None, ["GPU-b"]], ids=["no driver", "gone"])
def test_where_the_driver_cannot_tell_there_is_no_room(monkeypatch, uuids):
    monkeypatch.setitem(sys.modules, "pynvml", Driver(uuids, [1], 9))
    assert devices.has_free_memory("GPU-a") is False
