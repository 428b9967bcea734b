"""The commands as a shell sees them: help, version, completion, what is imported, how errors end."""

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kdbench import __version__
from kdbench.errors import KdbenchError

STATUS = importlib.import_module("kdbench.cli.status")  # kdbench.cli has a function of that name
COMMANDS = (
    *("plan", "run", "status", "logs", "retry", "clean", "merge", "reindex", "tune", "report", "list", "show"),
    *("doctor", "init"),
)
HEAVY = {"torch", "torchvision", "pandas", "pyarrow", "optuna", "numpy", "pydantic", "rich.progress", "rich.live"}


def test_help_names_every_command(say: Callable[..., Any]) -> None:
    said = say("--help")
    assert said.status == 0
    assert all(f"\n  {command} " in said.out for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_help_of_its_own(say: Callable[..., Any], command: str) -> None:
    said = say(command, "--help")
    assert said.status == 0
    assert said.out.startswith(f"Usage: kdbench {command} ")


def test_without_a_command_there_is_help(say: Callable[..., Any]) -> None:
    said = say()
    assert "Commands:" in said.out + said.err


def test_the_version_is_printed(say: Callable[..., Any]) -> None:
    assert say("--version").out == f"kdbench {__version__}\n"


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_and_version_import_nothing_heavy(modules_after: Callable[..., set[str]], option: str) -> None:
    assert not modules_after(option) & HEAVY


def test_python_dash_m_runs_it(python: Callable[..., Any]) -> None:
    code = "import runpy, sys; sys.argv = ['kdbench', '--version']; runpy.run_module('kdbench', run_name='__main__')"
    said = python(code)
    assert (said.status, said.out) == (0, f"kdbench {__version__}\n")


def test_the_shell_completes_commands(python: Callable[..., Any]) -> None:
    code = "from kdbench.cli.app import app; app(prog_name='kdbench')"
    said = python(code, _KDBENCH_COMPLETE="complete_bash", COMP_WORDS="kdbench ", COMP_CWORD="1")
    assert said.out.split() == list(COMMANDS)


def test_the_shell_completes_what_to_list(python: Callable[..., Any]) -> None:
    code = "from kdbench.cli.app import app; app(prog_name='kdbench')"
    said = python(code, _KDBENCH_COMPLETE="complete_bash", COMP_WORDS="kdbench list ", COMP_CWORD="2")
    assert said.out.split() == ["methods", "networks", "datasets"]


def test_an_unknown_command_is_a_wrong_call(say: Callable[..., Any]) -> None:
    said = say("rum")
    assert said.status == 2
    assert "rum" in said.err


def test_the_present_folder_is_on_the_import_path(say: Callable[..., Any], tmp_path: Path) -> None:
    assert str(tmp_path) not in sys.path
    say("list", "networks")
    say("list", "networks")
    assert sys.path.count(str(tmp_path)) == 1
    assert sys.path[-1] == str(tmp_path)


def test_an_error_is_one_line_and_status_1(say: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise KdbenchError("[bold]alpha[/bold] must be less than 1, got 2; " + 100 * "long ")

    monkeypatch.setattr(STATUS, "print_status", fail)
    said = say("status")
    assert (said.status, said.out) == (1, "")
    assert said.error == "[bold]alpha[/bold] must be less than 1, got 2; " + 100 * "long "


def test_an_interrupt_is_status_130(say: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(STATUS, "print_status", interrupt)
    said = say("status")
    assert said.status == 130
    assert said.err == "stopped; run the same command again to go on\n"


def test_a_fault_of_kdbench_itself_is_not_hidden(say: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise ZeroDivisionError("a fault")

    monkeypatch.setattr(STATUS, "print_status", fail)
    with pytest.raises(ZeroDivisionError, match="a fault"):
        say("status")


def test_the_results_folder_may_come_from_the_environment(
    say: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KDBENCH_RESULTS", str(tmp_path / "elsewhere"))
    assert say("status").error.startswith(f"{tmp_path / 'elsewhere'}: results folder not found")
