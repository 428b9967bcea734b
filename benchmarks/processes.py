"""Start child processes that prepare, and time them from the moment when all are ready. Not a script."""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from time import perf_counter
from typing import Any

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

Child = subprocess.Popen[str]


def start_child(arguments: Mapping[str, Any], environment: Mapping[str, str]) -> Child:
    """Start this script again with `--child ARGUMENTS` (JSON), with additions to the environment."""
    return subprocess.Popen(
        [sys.executable, sys.argv[0], "--child", json.dumps(arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )


def time_children(name: str, children: Sequence[Child]) -> float:
    """Return the seconds from the moment when all children are ready until the last one is done."""
    for child in children:
        _expect("ready", name, child)
    started = perf_counter()
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    for child in children:
        _expect("done", name, child)
    elapsed = perf_counter() - started
    failed = [child for child in children if child.wait() != 0]
    if failed:
        raise SystemExit(f"{name}: a process failed")
    return elapsed


def _expect(word: str, name: str, child: Child) -> None:
    assert child.stdout is not None
    if child.stdout.readline() != f"{word}\n":
        raise SystemExit(f"{name}: a process ended before it was {word}")


def run_child(work: Callable[[], None]) -> None:
    """In a child: print "ready", run `work` when the parent writes "go", and print "done"."""
    print_line("ready")
    if sys.stdin.readline() == "go\n":
        work()
        print_line("done")


def format_spread(values: Sequence[float], unit: str) -> str:
    """Format the median, the minimum and the maximum."""
    return f"{statistics.median(values):.2f}{unit} ({min(values):.2f} to {max(values):.2f})"


def print_line(text: str) -> None:
    """Print a line and flush."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
