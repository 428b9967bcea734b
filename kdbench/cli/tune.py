"""`kdbench tune`: search the hyperparameters of a method."""

import json
import re
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console

from kdbench.cli.console import command, count_of, print_line
from kdbench.events import EventHandler
from kdbench.formatting import format_configuration
from kdbench.matrix import load
from kdbench.matrix.shipped import find_shipped
from kdbench.plan import Plan
from kdbench.progress import Progress
from kdbench.results import Store
from kdbench.tuning import TuningResult, split_method, tune


def tune_method(method: str, matrix: Path | None, trials: int, results: Path, console: Console) -> None:
    """Search the hyperparameters of a method and print the best configuration as TOML for a matrix.

    Raises:
        KdbenchError: the method cannot be tuned.
    """
    base = load(matrix or find_shipped("quickstart"))
    split_method(method, base)
    store = Store(results)
    pair = base.pairs[0]
    print_line(
        console,
        f"tuning {method} on {base.datasets[0]}, {pair.teacher} -> {pair.student}: {count_of(trials, 'trial')} x "
        f"{count_of(len(base.protocol.search_seeds or base.seeds), 'seed')}, chosen by validation accuracy",
    )
    with ExitStack() as stack:

        def show_progress(plan: Plan) -> EventHandler:
            stack.pop_all().close()
            return stack.enter_context(Progress(plan, store, console)).on_event

        result = tune(method, base, trials, store, show_progress)
    _print(result, method, results, console)


def _print(result: TuningResult, method: str, results: Path, console: Console) -> None:
    default_score = "no score" if result.default.score is None else f"{result.default.score:.4f}"
    for line in (
        f"best of {count_of(len(result.trials), 'trial')} ({result.num_failed} failed): "
        f"validation accuracy {result.best.score:.4f}; "
        f"defaults ({format_configuration(result.default.configuration)}): {default_score}",
        "for a matrix:",
        "",
        f"[methods.{_quote(method)}]",
        *(f"{_toml_key(key)} = {value!r}" for key, value in result.best.configuration.items()),
        "",
        f"all trials: {command('report', result.matrix, results=results)}",
    ):
        print_line(console, line)


def _toml_key(key: str) -> str:
    part, _, name = key.rpartition(".")
    return f"{_quote(part)}.{name}" if part else name


def _quote(name: str) -> str:
    return name if re.fullmatch("[A-Za-z0-9_-]+", name) else json.dumps(name)
