"""How long work takes, on a processor or on a GPU that only queues what it is given."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import final

import torch


@final
class Stopwatch:
    """Adds up the seconds of the work inside `running()`.

    On CUDA they lie between two events in the GPU's queue, so that nothing waits for the GPU before `seconds` is read.
    """

    def __init__(self, device: torch.device) -> None:
        self._queued = device.type == "cuda"
        self._spans: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []
        self._seconds = 0.0

    def resume(self, seconds: float) -> None:
        """Go on from a sum."""
        self._seconds = seconds

    @contextmanager
    def running(self) -> Iterator[None]:
        """What is done inside is counted, also if it raises."""
        begin, started = _event() if self._queued else None, time.perf_counter()
        try:
            yield
        finally:
            if begin is None:
                self._seconds += time.perf_counter() - started
            else:
                self._spans.append((begin, _event()))

    @property
    def seconds(self) -> float:
        """The sum so far; waits for the work to end."""
        for begin, end in self._spans:
            end.synchronize()
            self._seconds += begin.elapsed_time(end) / 1000
        self._spans.clear()
        return self._seconds


def _event() -> torch.cuda.Event:
    event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    event.record()
    return event
