"""Processes by their number, which is valid on one machine and in one container only."""

import os
from functools import cache
from pathlib import Path

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
PID_NAMESPACE = Path("/proc/self/ns/pid")


@cache
def pid_space() -> str:
    """Return a text that two processes share if each can look up the other one by its number; empty if unknown.

    It names the boot of the machine and the PID namespace, because two containers can have the same host name.
    """
    try:
        return f"{BOOT_ID.read_text(encoding='ascii').strip()}/{PID_NAMESPACE.readlink()}"
    except OSError:  # not Linux
        return ""


def is_alive(pid: int) -> bool:
    """Return whether a process has this number here."""
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True  # it belongs to another user
    except (ProcessLookupError, OverflowError):
        return False
    return True
