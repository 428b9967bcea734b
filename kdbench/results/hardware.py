"""The model of this machine's CPU."""

import platform
import subprocess
from functools import cache
from pathlib import Path

from kdbench.errors import printable

CPUINFO = Path("/proc/cpuinfo")


@cache
def cpu_model() -> str:
    """Return the model of the CPU, such as "AMD EPYC (family 26, model 2)"; its architecture if no model is known.

    In virtual machines the name alone does not tell two generations apart.
    """
    try:
        return printable(parse_cpuinfo(CPUINFO.read_text(encoding="utf-8", errors="replace"))) or platform.machine()
    except OSError:  # not Linux
        return _apple_model() or platform.processor() or platform.machine()


def parse_cpuinfo(text: str) -> str:
    """Return the model of the first CPU in the text of /proc/cpuinfo; empty if none is named."""
    lines = (line.partition(":") for line in text.split("\n\n", 1)[0].splitlines())
    fields = {key.strip(): value.strip() for key, _, value in lines}
    if "model name" in fields and "cpu family" in fields:
        return f"{fields['model name']} (family {fields['cpu family']}, model {fields.get('model', '?')})"
    if "CPU part" in fields:
        return f"ARM (implementer {fields.get('CPU implementer', '?')}, part {fields['CPU part']})"
    return fields.get("model name", "")


def _apple_model() -> str:
    command = ["sysctl", "-n", "machdep.cpu.brand_string"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
