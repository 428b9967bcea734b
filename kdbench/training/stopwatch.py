"""Measure how long work takes, on the CPU or on a GPU."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import final

import torch


@final
class Stopwatch:
    """Adds up the seconds of the work inside `running()`.

    On a GPU it measures between two CUDA events, so that nothing synchronizes before `seconds` is read.
    """

    def __init__(self, device: torch.device) -> None:
        self._is_cuda = device.type == "cuda"
        self._spans: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []
        self._seconds = 0.0

    def set(self, seconds: float) -> None:
        """Set the sum, to continue from an earlier measurement."""
        self._seconds = seconds

    @contextmanager
    def running(self) -> Iterator[None]:
        """Add the time of the work inside, even if it raises an exception."""
        begin, started = _record_event() if self._is_cuda else None, time.perf_counter()
        try:
            yield
        finally:
            if begin is None:
                self._seconds += time.perf_counter() - started
            else:
                self._spans.append((begin, _record_event()))

    @property
    def seconds(self) -> float:
        """The sum so far; synchronizes with the GPU."""
        for begin, end in self._spans:
            end.synchronize()
            self._seconds += begin.elapsed_time(end) / 1000
        self._spans.clear()
        return self._seconds


def _record_event() -> torch.cuda.Event:
    event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    event.record()
    return event
