"""The console that every command prints to."""

import os
import shlex
import sys
from pathlib import Path
from typing import final

from rich.console import Console
from rich.text import Text

from kdbench.errors import printable_lines

RESULTS = Path("results")


@final
class OutputConsole(Console):
    """A console that becomes quiet when its reader exits, so that `kdbench run MATRIX | head` still trains."""

    def on_broken_pipe(self) -> None:
        """Discard all further output."""
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def make_console(*, stderr: bool = False) -> Console:
    """Return a console for stdout or stderr, 120 columns wide if that is not a terminal."""
    stream = sys.stderr if stderr else sys.stdout
    return OutputConsole(stderr=stderr, width=None if stream.isatty() else 120)


def print_line(console: Console, text: str, style: str = "") -> None:
    """Print text as it is: no markup, no wrapping, and control characters as their codes."""
    console.print(Text(printable_lines(text), style=style), soft_wrap=True)


def command(*arguments: object, results: Path = RESULTS) -> str:
    """Return a kdbench command that can be pasted into a shell.

    >>> command("run", "my matrix.toml", results=Path("elsewhere"))
    "kdbench run 'my matrix.toml' --results elsewhere"
    """
    option = [] if results == RESULTS else ["--results", str(results)]
    return shlex.join(["kdbench", *map(str, arguments), *option])
