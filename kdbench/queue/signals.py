"""Ctrl-C and SIGTERM: the first is a wish to stop, the second stops at once."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, final

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@final
class Interrupts:
    """Takes note of SIGINT and SIGTERM in a with block; the second raises KeyboardInterrupt wherever the program is.

    Only the main thread can: in another one nothing changes. A signal that was ignored before stays so.
    """

    def __init__(self) -> None:
        self._count = 0
        self._before: dict[signal.Signals, Any] = {}

    @property
    def wanted(self) -> bool:
        """Whether somebody wants this to stop."""
        return self._count > 0

    @property
    def again(self) -> bool:
        """Whether it was said a second time."""
        return self._count > 1

    def __enter__(self) -> "Interrupts":
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler or signal.SIG_DFL)
        self._before.clear()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._count += 1
        if self.again:
            raise KeyboardInterrupt
