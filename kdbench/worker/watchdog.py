"""A process that kills the worker when the worker's standard input ends, whatever the worker does.

The worker's own thread notices the end of its standard input, except while a library call holds the interpreter lock.
The watchdog also kills the child processes of the worker.
"""

import os
import select
import signal
import time

EXIT_SECONDS = 2.0  # time for the worker to exit by itself


def start_watchdog() -> None:
    """Fork the watchdog of this process. Call it early, with one thread and little memory in use."""
    worker = os.getpid()
    if os.fork() == 0:
        try:
            _watch(worker)
        finally:
            os._exit(0)


def _watch(worker: int) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    for descriptor in (1, 2):  # or the worker's pipes would stay open after its exit
        os.close(descriptor)
    standard_input = select.poll()
    standard_input.register(0, 0)  # an empty mask: only the end is reported, and the worker reads the jobs
    while _is_alive(worker) and not standard_input.poll(500):
        pass
    deadline = time.monotonic() + EXIT_SECONDS
    while _is_alive(worker) and time.monotonic() < deadline:
        time.sleep(0.05)
    if os.getpgrp() == worker:
        os.killpg(worker, signal.SIGKILL)
    elif _is_alive(worker):
        os.kill(worker, signal.SIGKILL)


def _is_alive(worker: int) -> bool:
    return os.getppid() == worker
