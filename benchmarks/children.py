"""Contenders as processes that make ready, wait for one another and are timed from there. No script."""

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


def start(about: Mapping[str, Any], environment: Mapping[str, str]) -> Child:
    """This script once more, with `--child` and what the child is to know, in an environment with these additions."""
    return subprocess.Popen(
        [sys.executable, sys.argv[0], "--child", json.dumps(about)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )


def seconds(who: str, children: Sequence[Child]) -> float:
    """Seconds from the moment when all children are ready until the last is done."""
    for child in children:
        _hear("ready", who, child)
    begun = perf_counter()
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    for child in children:
        _hear("done", who, child)
    taken = perf_counter() - begun
    failed = [child for child in children if child.wait() != 0]
    if failed:
        raise SystemExit(f"{who}: a process failed")
    return taken


def _hear(word: str, who: str, child: Child) -> None:
    assert child.stdout is not None
    if child.stdout.readline() != f"{word}\n":
        raise SystemExit(f"{who}: a process ended before it was {word}")


def serve(work: Callable[[], None]) -> None:
    """In a child: tell that `work` can begin, do it when told to, and tell that it is done."""
    tell("ready")
    if sys.stdin.readline() == "go\n":
        work()
        tell("done")


def spread(values: Sequence[float], unit: str) -> str:
    """Median, lowest and highest."""
    return f"{statistics.median(values):.2f}{unit} ({min(values):.2f} to {max(values):.2f})"


def tell(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
