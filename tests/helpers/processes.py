"""Processes that tests watch from outside."""

import subprocess
import time


def has_exited(pid: int, seconds: float = 5.0) -> bool:
    """Return whether a process exits in time; a zombie has exited."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        listed = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
        if not listed.stdout.strip() or listed.stdout.strip()[0] in "ZX":
            return True
        time.sleep(0.02)
    return False
