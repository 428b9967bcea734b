"""Workers keep the memory of freed tensors for the next ones, and return it to the system before the next cohort."""

import os
import platform
import subprocess
import sys

import pytest

from kdbench.queue.executors.base import worker_environment

SCRIPT = """
import resource
from pathlib import Path
import torch
from kdbench.worker.memory import train_within_memory

def count_faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(160 * 2**20, dtype=torch.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def resident_mb():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20

first, *_, last = [count_faults() for _ in range(12)]  # small blocks may keep the first few from being used again
kept = resident_mb()
train_within_memory([], lambda specs: None, None, None)
print(first, last, kept - resident_mb())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the settings are those of glibc")
def test_freed_memory_is_used_again_and_returned_before_the_next_cohort() -> None:
    environment = {**os.environ, **worker_environment(1)}
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=True)
    first, last, returned = map(float, done.stdout.split())
    assert last < min(first, 1000)
    assert returned > 150
