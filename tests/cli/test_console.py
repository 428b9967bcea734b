"""The texts that all commands share."""

import io
from pathlib import Path

from rich.console import Console

from kdbench.cli.console import command, print_line


def test_a_command_can_be_pasted() -> None:
    assert command("run", "m.toml") == "kdbench run m.toml"
    assert command("run", Path("my m.toml"), results=Path("a b")) == "kdbench run 'my m.toml' --results 'a b'"


def test_a_line_is_printed_without_markup_wrapping_or_control_characters() -> None:
    text = io.StringIO()
    print_line(Console(file=text, width=10), "[red]x[/red]\x1b[31m " + 10 * "long ")
    assert text.getvalue() == "[red]x[/red]\\x1b[31m " + 10 * "long " + "\n"
