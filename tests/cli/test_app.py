"""The commands as a shell sees them: help, version, completion, imports, exit statuses."""

import importlib
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kdbench import __version__
from kdbench.errors import KdbenchError

STATUS = importlib.import_module("kdbench.cli.status")  # kdbench.cli.app has a function of that name
COMMANDS = (
    *("plan", "run", "status", "logs", "retry", "clean", "merge", "reindex", "tune", "report", "list", "show"),
    *("doctor", "init"),
)
HEAVY = {"torch", "torchvision", "pandas", "pyarrow", "optuna", "numpy", "pydantic", "rich.progress", "rich.live"}


def test_help_lists_every_command(invoke: Callable[..., Any]) -> None:
    result = invoke("--help")
    assert result.status == 0
    assert all(f"\n  {command} " in result.out for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(invoke: Callable[..., Any], command: str) -> None:
    result = invoke(command, "--help")
    assert result.status == 0
    assert result.out.startswith(f"Usage: kdbench {command} ")


@pytest.mark.parametrize("command", [(), *((command,) for command in COMMANDS)], ids=("kdbench", *COMMANDS))
def test_help_fits_in_80_columns_and_is_not_cut_off(
    invoke: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = invoke(*command, "--help").out.splitlines()
    assert [line for line in lines if len(line) > 80] == []
    assert lines[0].startswith("Usage: ")
    assert [line for line in lines[1:] if "..." in line.replace("[NAME]...", "")] == []


def test_help_gives_the_exit_statuses(invoke: Callable[..., Any]) -> None:
    text = " ".join(invoke("--help").out.split())
    assert "0 success; 1 error; 2 some runs failed or are blocked by a failed run; 130 interrupted." in text


@pytest.mark.parametrize("command", ["plan", "status", "retry", "clean", "report", "list", "show", "doctor"])
def test_every_command_that_prints_a_table_has_json(invoke: Callable[..., Any], command: str) -> None:
    assert re.search(r"^  --json +Print JSON\.$", invoke(command, "--help").out, re.MULTILINE)


def test_without_a_command_there_is_help(invoke: Callable[..., Any]) -> None:
    result = invoke()
    assert "Commands:" in result.out + result.err


def test_the_version_is_printed(invoke: Callable[..., Any]) -> None:
    assert invoke("--version").out == f"kdbench {__version__}\n"


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_and_version_import_nothing_heavy(modules_after: Callable[..., set[str]], option: str) -> None:
    assert not modules_after(option) & HEAVY


def test_python_dash_m_runs_it(python: Callable[..., Any]) -> None:
    code = "import runpy, sys; sys.argv = ['kdbench', '--version']; runpy.run_module('kdbench', run_name='__main__')"
    result = python(code)
    assert (result.status, result.out) == (0, f"kdbench {__version__}\n")


def test_the_shell_completes_commands(python: Callable[..., Any]) -> None:
    code = "from kdbench.cli.app import app; app(prog_name='kdbench')"
    result = python(code, _KDBENCH_COMPLETE="complete_bash", COMP_WORDS="kdbench ", COMP_CWORD="1")
    assert result.out.split() == list(COMMANDS)


def test_the_shell_completes_catalogs(python: Callable[..., Any]) -> None:
    code = "from kdbench.cli.app import app; app(prog_name='kdbench')"
    result = python(code, _KDBENCH_COMPLETE="complete_bash", COMP_WORDS="kdbench list ", COMP_CWORD="2")
    assert result.out.split() == ["methods", "networks", "datasets"]


def test_an_unknown_command_is_a_usage_error(invoke: Callable[..., Any]) -> None:
    result = invoke("rum")
    assert result.status == 2
    assert "rum" in result.err


def test_the_current_folder_is_on_the_import_path(invoke: Callable[..., Any], tmp_path: Path) -> None:
    assert str(tmp_path) not in sys.path
    invoke("list", "networks")
    invoke("list", "networks")
    assert sys.path.count(str(tmp_path)) == 1
    assert sys.path[-1] == str(tmp_path)


def test_an_error_is_one_line_and_status_1(invoke: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise KdbenchError("[bold]alpha[/bold] must be less than 1, got 2; " + 100 * "long ")

    monkeypatch.setattr(STATUS, "print_status", fail)
    result = invoke("status")
    assert (result.status, result.out) == (1, "")
    assert result.error == "[bold]alpha[/bold] must be less than 1, got 2; " + 100 * "long "


def test_an_interrupt_is_status_130(invoke: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(STATUS, "print_status", interrupt)
    result = invoke("status")
    assert result.status == 130
    assert result.err == "stopped; rerun the same command to resume\n"


def test_an_unexpected_exception_is_raised(invoke: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(STATUS, "print_status", fail)
    with pytest.raises(ZeroDivisionError, match="a bug"):
        invoke("status")


def test_the_results_folder_can_come_from_the_environment(
    invoke: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KDBENCH_RESULTS", str(tmp_path / "elsewhere"))
    assert invoke("status").error.startswith(f"{tmp_path / 'elsewhere'}")
