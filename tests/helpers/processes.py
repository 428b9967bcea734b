"""Processes that tests watch from outside."""

import subprocess
import time
from pathlib import Path


def has_exited(pid: int, seconds: float = 5.0) -> bool:
    """Return whether a process exits in time; a zombie has exited."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        listed = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
        if not listed.stdout.strip() or listed.stdout.strip()[0] in "ZX":
            return True
        time.sleep(0.02)
    return False


def processes_in(folder: Path) -> list[str]:
    """The command lines of the processes that work on the results in a folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_text()
        except OSError:
            continue
        if f"{folder}/results" in command:
            found.append(command.replace("\0", " "))
    return found
