"""A process beside the worker that ends it with its coordinator, whatever the worker is doing then.

The worker's own thread notices the end of standard input, but not while a call of a user's library holds the
interpreter; and neither that thread nor the coordinator would take the worker's children along.
"""

import os
import select
import signal
import time

PATIENCE = 2.0  # seconds in which a worker can leave of its own accord


def watch() -> None:
    """Fork the guard of this process; it needs to be early, while there is one thread and little memory."""
    worker = os.getpid()
    if os.fork() == 0:
        try:
            _guard(worker)
        finally:
            os._exit(0)


def _guard(worker: int) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    for descriptor in (1, 2):  # they must end when the worker does
        os.close(descriptor)
    standard_input = select.poll()
    standard_input.register(0, 0)  # its end is told always, and nothing is read
    while _is_there(worker) and not standard_input.poll(500):
        pass
    until = time.monotonic() + PATIENCE
    while _is_there(worker) and time.monotonic() < until:
        time.sleep(0.05)
    if os.getpgrp() == worker:
        os.killpg(worker, signal.SIGKILL)
    elif _is_there(worker):
        os.kill(worker, signal.SIGKILL)


def _is_there(worker: int) -> bool:
    return os.getppid() == worker
