"""Disks that fill up or become read-only, files that are corrupted, clocks that jump."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest


@contextmanager
def mounted(folder: Path, *arguments: str) -> Iterator[None]:
    """A file system of its own at a folder; the test is skipped where none can be mounted."""
    folder.mkdir(parents=True, exist_ok=True)
    asked = subprocess.run(["mount", *arguments, str(folder)], capture_output=True, text=True, check=False)
    if asked.returncode:
        pytest.skip(f"nothing can be mounted here: {asked.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def remount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)


def check_stopped(ran: Any, folder: str) -> None:
    """Whether a command ended with one clear error about the results folder."""
    assert ran.status == 1, ran.said
    assert "Traceback" not in ran.said
    error = ran.said[ran.said.index("error: ") :]
    assert folder in error
    assert "cannot be written" in error
    assert "nothing that was computed is lost" in error


def test_a_disk_that_is_full_and_then_is_not(bench: Any, undisturbed: Any) -> None:
    shutil.rmtree(bench.results)
    with mounted(bench.results, "-t", "tmpfs", "-o", "size=200k", "kdbench-faults"):
        check_stopped(bench.run(), "results")
        remount(bench.results, "size=64m")
        ran = bench.run()
        assert ran.status == 0, ran.said
        bench.numbers().check_same(undisturbed.numbers)
        assert not list(bench.results.rglob("*.tmp"))


def test_a_folder_that_becomes_read_only_and_then_is_not(bench: Any, undisturbed: Any) -> None:
    process, began = bench.start(), time.monotonic()
    bench.until(bench.checkpoints)
    with mounted(bench.results, "--bind", str(bench.results)):
        remount(bench.results, "bind,ro")
        check_stopped(bench.ended(process, began), "results")
        bench.until(lambda: not bench.workers(), seconds=10)
    ran = bench.run()
    assert ran.status == 0, ran.said
    bench.numbers().check_same(undisturbed.numbers)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def garble(path: Path) -> None:
    path.write_bytes(b"\x00\xffnonsense" * 7)


def flip(path: Path) -> None:
    """One bit near the end: the size stays what it was."""
    content = bytearray(path.read_bytes())
    content[-9] ^= 1
    path.write_bytes(content)


def test_corrupted_files_of_finished_runs_are_named_and_their_runs_repeated(finished: Any, undisturbed: Any) -> None:
    rows = undisturbed.numbers.rows
    students = [str(run) for run in rows.index[rows["method"] == "vanilla"]]
    damages: list[tuple[str, Callable[[Path], None]]] = [
        ("result.json", cut),
        ("weights.safetensors", cut),
        ("history.parquet", garble),
        ("result.json", garble),
    ]
    for run, (name, corrupt) in zip(students, damages, strict=True):
        corrupt(finished.results / "runs" / run / name)
    derived = ["results.parquet", "history.parquet", "matrices/faults.json"]
    for name in derived:
        garble(finished.results / name)
    ran = finished.run()
    assert ran.status == 0, ran.said
    assert "Traceback" not in ran.said
    for name in [*students, *derived]:
        assert name in ran.said
    assert sorted(path.name for path in (finished.results / "quarantine").iterdir()) == sorted(
        f"{s}-1" for s in students
    )
    finished.numbers().check_same(undisturbed.numbers)


def test_a_teacher_whose_weights_changed_teaches_nobody(finished: Any, undisturbed: Any) -> None:
    rows = undisturbed.numbers.rows
    teacher = str(rows.index[rows["student"] == "cnn_8_16"][0])
    student = str(rows.index[rows["method"] == "vanilla"][0])
    flip(finished.results / "runs" / teacher / "weights.safetensors")
    shutil.rmtree(finished.results / "runs" / student)
    ran = finished.run()
    assert ran.status == 0, ran.said
    assert "checksum" in ran.said
    assert (finished.results / "quarantine" / f"{teacher}-1" / "why.txt").exists()
    finished.numbers().check_same(undisturbed.numbers)


def killed_with_two_checkpoints(bench: Any) -> Path:
    """Kill everything while a run has two checkpoints, and give the newer; a busy machine may take a few tries."""
    for _ in range(20):
        shutil.rmtree(bench.results, ignore_errors=True)
        process, began = bench.start(), time.monotonic()
        bench.until(lambda: list(bench.results.glob("runs/*/checkpoint.previous.pt")))
        for pid in [*bench.workers(), process.pid]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        bench.ended(process, began)
        for path in bench.results.glob("runs/*/checkpoint.previous.pt"):
            newer: Path = path.with_name("checkpoint.pt")
            if newer.exists():
                return newer
    raise AssertionError("every run ended before it could be killed")


@pytest.mark.parametrize("corrupt", [cut, flip])
def test_a_corrupted_checkpoint_is_passed_over(bench: Any, undisturbed: Any, corrupt: Callable[[Path], None]) -> None:
    first = killed_with_two_checkpoints(bench)
    for path in bench.checkpoints():
        corrupt(path)
    garble(first.with_name("checkpoint.previous.pt"))
    ran = bench.run()
    assert ran.status == 0, ran.said
    assert "checkpoint.pt is corrupted" in ran.said
    assert "checkpoint.pt is corrupted" in (first.parent / "log.txt").read_text(encoding="utf-8")
    bench.numbers().check_same(undisturbed.numbers)


CLOCK = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sys/time.h>
#include <time.h>

static long jump(void) {
    static long asked = 0;
    return (asked++ / 3 % 61 - 30) * 86400;
}

int clock_gettime(clockid_t clock, struct timespec *found) {
    int (*real)(clockid_t, struct timespec *) = dlsym(RTLD_NEXT, "clock_gettime");
    int status = real(clock, found);
    if (clock == CLOCK_REALTIME) found->tv_sec += jump();
    return status;
}

int gettimeofday(struct timeval *found, void *zone) {
    int (*real)(struct timeval *, void *) = dlsym(RTLD_NEXT, "gettimeofday");
    int status = real(found, zone);
    found->tv_sec += jump();
    return status;
}
"""


@pytest.mark.skipif(shutil.which("cc") is None, reason="the clock is bent with a few lines of C, and there is no cc")
def test_a_clock_that_jumps_by_days_changes_nothing(bench: Any, undisturbed: Any) -> None:
    source, library = bench.folder / "clock.c", bench.folder / "clock.so"
    source.write_text(CLOCK, encoding="utf-8")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"], check=True)
    bench.environment["LD_PRELOAD"] = str(library)
    ran = bench.run()
    assert ran.status == 0, ran.said
    numbers = bench.numbers()
    numbers.check_same(undisturbed.numbers)
    began = [bench.store.result(run)["row"]["started"][:10] for run in numbers.rows.index]
    assert len(set(began)) > 1  # the clock did jump
