"""Full disks, read-only folders, corrupted files, and clocks that jump."""

import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow


@contextmanager
def mount(folder: Path, *arguments: str) -> Iterator[None]:
    """Mount a file system at a folder; skip the test if the system does not allow it."""
    folder.mkdir(parents=True, exist_ok=True)
    result = subprocess.run(["mount", *arguments, str(folder)], capture_output=True, text=True, check=False)
    if result.returncode:
        pytest.skip(f"cannot mount a file system: {result.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def remount(folder: Path, options: str) -> None:
    """Change the options of a mount; it is busy for a moment while a file is open for writing."""
    command, until = ["mount", "-o", f"remount,{options}", str(folder)], time.monotonic() + 10
    while subprocess.run(command, check=time.monotonic() > until).returncode:
        time.sleep(0.02)


def check_stopped(completed: Any, folder: str) -> None:
    """Assert that a command ended with one clear error about the results folder."""
    assert completed.status == 1, completed.output
    assert "Traceback" not in completed.output
    error = completed.output[completed.output.index("error: ") :]
    assert folder in error
    assert "cannot be written" in error
    assert "finished runs are kept" in error


def test_a_full_disk_stops_the_command_and_rerunning_finishes(sandbox: Any, reference: Any) -> None:
    shutil.rmtree(sandbox.results)
    with mount(sandbox.results, "-t", "tmpfs", "-o", "size=200k", "kdbench-faults"):
        check_stopped(sandbox.run(), "results")
        remount(sandbox.results, "size=64m")
        completed = sandbox.run()
        assert completed.status == 0, completed.output
        sandbox.numbers().check_same(reference.numbers)
        assert not list(sandbox.results.rglob("*.tmp"))


LARGE = """
name = "faults"
datasets = ["digits"]
pairs = [{ teacher = "mlp_1500", student = "mlp_1500" }]

[recipe]
epochs = 1
precision = "fp32"

[run]
devices = "cpu"
workers = 1
"""
SMALL_DISK = 300 * 1024  # bytes: less than the weights, and more than all other files


@contextmanager
def small_disk(sandbox: Any) -> Iterator[None]:
    """Let the results folder have a disk that the weights overflow, until the end of the block."""
    with mount(sandbox.results, "-t", "tmpfs", "-o", f"size={SMALL_DISK}", "kdbench-faults"):
        yield
        remount(sandbox.results, "size=64m")
        check_finishes(sandbox)


@contextmanager
def small_files(sandbox: Any) -> Iterator[None]:
    """Limit the size of all files, as `ulimit -f` does, until the end of the block."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (SMALL_DISK, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    check_finishes(sandbox)


def check_finishes(sandbox: Any) -> None:
    completed = sandbox.run()
    assert completed.status == 0, completed.output
    assert {sandbox.store.state(run) for run in sandbox.store.run_ids()} == {"done"}


@pytest.mark.parametrize(
    ("limit", "reason"), [(small_disk, "No space left on device"), (small_files, "File too large")]
)
def test_weights_that_do_not_fit_stop_the_command_and_fail_no_run(sandbox: Any, limit: Any, reason: str) -> None:
    (sandbox.folder / "faults.toml").write_text(LARGE, encoding="utf-8")
    shutil.rmtree(sandbox.results)
    with limit(sandbox):
        completed = sandbox.run()
        check_stopped(completed, "results")
        assert reason in completed.output
        assert {sandbox.store.state(run) for run in sandbox.store.run_ids()} == {"pending"}
        assert not list(sandbox.results.rglob("*.tmp"))


STALE = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>

static unsigned char opened[1 << 16];

static int fails(const char *path, int flags) {
    unsigned hash = 5381;
    if (!strstr(path, "results/runs/") || strstr(path, ".tmp") || (flags & (O_ACCMODE | O_DIRECTORY))) return 0;
    for (const char *c = path; *c; c++) hash = hash * 33 + (unsigned char)*c;
    if (opened[hash & 0xffff] >= 2) return 0;
    opened[hash & 0xffff]++;
    errno = ESTALE;
    return 1;
}

#define DEFINE(name)                                                    \
    int name(const char *path, int flags, ...) {                        \
        int (*real)(const char *, int, ...) = dlsym(RTLD_NEXT, #name);  \
        va_list rest;                                                   \
        va_start(rest, flags);                                          \
        int mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, int) : 0; \
        va_end(rest);                                                   \
        return fails(path, flags) ? -1 : real(path, flags, mode);       \
    }

DEFINE(open)
DEFINE(open64)
"""


def preload(sandbox: Any, name: str, source: str) -> None:
    """Let all commands use a library in C instead of the functions of the system."""
    file, library = sandbox.folder / f"{name}.c", sandbox.folder / f"{name}.so"
    file.write_text(source, encoding="utf-8")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", str(library), str(file), "-ldl"], check=True)
    sandbox.environment["LD_PRELOAD"] = str(library)


@pytest.mark.skipif(sys.platform != "linux" or shutil.which("cc") is None, reason="the test needs Linux and cc")
def test_reads_that_fail_for_a_moment_change_nothing(finished: Any, reference: Any) -> None:
    rows = reference.numbers.rows
    for student in rows.index[rows["method"] == "vanilla"][:1]:
        shutil.rmtree(finished.results / "runs" / str(student))
    preload(finished, "stale", STALE)
    completed = finished.run()
    assert completed.status == 0, completed.output
    assert "corrupted" not in completed.output
    assert not (finished.results / "quarantine").exists()
    assert set(finished.attempts().values()) == {1}
    finished.numbers().check_same(reference.numbers)


def test_a_read_only_folder_stops_the_command_and_rerunning_finishes(sandbox: Any, reference: Any) -> None:
    process, start = sandbox.start(), time.monotonic()
    sandbox.wait_until(sandbox.checkpoints)
    with mount(sandbox.results, "--bind", str(sandbox.results)):
        remount(sandbox.results, "bind,ro")
        check_stopped(sandbox.wait(process, start), "results")
        sandbox.wait_until(lambda: not sandbox.worker_pids(), seconds=10)
    completed = sandbox.run()
    assert completed.status == 0, completed.output
    sandbox.numbers().check_same(reference.numbers)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def overwrite(path: Path) -> None:
    path.write_bytes(b"\x00\xffnonsense" * 7)


def flip_bit(path: Path) -> None:
    """Flip a bit near the end; the size stays the same."""
    content = bytearray(path.read_bytes())
    content[-9] ^= 1
    path.write_bytes(content)


def test_runs_with_corrupted_files_are_named_and_retrained(finished: Any, reference: Any) -> None:
    rows = reference.numbers.rows
    students = [str(run) for run in rows.index[rows["student"] == "mlp_16"]]
    corruptions: list[tuple[str, Callable[[Path], None]]] = [
        ("result.json", truncate),
        ("weights.safetensors", truncate),
        ("history.parquet", overwrite),
        ("result.json", overwrite),
        ("predictions.safetensors", truncate),
        ("predictions.safetensors", overwrite),
    ]
    for run, (name, corrupt) in zip(students, corruptions, strict=True):
        corrupt(finished.results / "runs" / run / name)
    derived = ["results.parquet", "history.parquet", "matrices/faults.json"]
    for name in derived:
        overwrite(finished.results / name)
    completed = finished.run()
    assert completed.status == 0, completed.output
    assert "Traceback" not in completed.output
    for name in [*students, *derived]:
        assert name in completed.output
    assert sorted(path.name for path in (finished.results / "quarantine").iterdir()) == sorted(
        f"{s}-1" for s in students
    )
    finished.numbers().check_same(reference.numbers)


def test_a_teacher_with_corrupted_weights_is_retrained_before_it_is_used(finished: Any, reference: Any) -> None:
    rows = reference.numbers.rows
    teacher = str(rows.index[rows["student"] == "cnn_8_16"][0])
    student = str(rows.index[rows["method"] == "vanilla"][0])
    flip_bit(finished.results / "runs" / teacher / "weights.safetensors")
    shutil.rmtree(finished.results / "runs" / student)
    completed = finished.run()
    assert completed.status == 0, completed.output
    assert "checksum" in completed.output
    assert (finished.results / "quarantine" / f"{teacher}-1" / "why.txt").exists()
    finished.numbers().check_same(reference.numbers)


def kill_with_two_checkpoints(sandbox: Any) -> Path:
    """Kill all processes while a run has two checkpoints; return the newer one. A busy machine may need a few tries."""
    for _ in range(20):
        shutil.rmtree(sandbox.results, ignore_errors=True)
        process, start = sandbox.start(), time.monotonic()
        sandbox.wait_until(lambda: list(sandbox.results.glob("runs/*/checkpoint.previous.pt")))
        for pid in [*sandbox.worker_pids(), process.pid]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        sandbox.wait(process, start)
        for path in sandbox.results.glob("runs/*/checkpoint.previous.pt"):
            newer: Path = path.with_name("checkpoint.pt")
            if newer.exists():
                return newer
    raise AssertionError("every run finished before it could be killed")


@pytest.mark.parametrize("corrupt", [truncate, flip_bit])
def test_a_corrupted_checkpoint_is_skipped(sandbox: Any, reference: Any, corrupt: Callable[[Path], None]) -> None:
    first = kill_with_two_checkpoints(sandbox)
    for path in sandbox.checkpoints():
        corrupt(path)
    overwrite(first.with_name("checkpoint.previous.pt"))
    completed = sandbox.run()
    assert completed.status == 0, completed.output
    assert "checkpoint.pt is corrupted" in completed.output
    assert "checkpoint.pt is corrupted" in (first.parent / "log.txt").read_text(encoding="utf-8")
    sandbox.numbers().check_same(reference.numbers)


CLOCK = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sys/time.h>
#include <time.h>

static long jump(void) {
    static long calls = 0;
    return (calls++ / 3 % 61 - 30) * 86400;
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


@pytest.mark.skipif(shutil.which("cc") is None, reason="the test needs a C compiler, cc")
def test_a_clock_that_jumps_by_days_changes_nothing(sandbox: Any, reference: Any) -> None:
    preload(sandbox, "clock", CLOCK)
    completed = sandbox.run()
    assert completed.status == 0, completed.output
    numbers = sandbox.numbers()
    numbers.check_same(reference.numbers)
    start = [sandbox.store.result(run)["row"]["started"][:10] for run in numbers.rows.index]
    assert len(set(start)) > 1  # the clock jumped
