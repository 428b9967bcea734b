"""`kdbench tune`: search the hyperparameters of a method."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from kdbench.cli.console import command, print_line
from kdbench.events import EventHandler
from kdbench.formatting import count_of, format_configuration, list_seeds
from kdbench.matrix import load
from kdbench.plan import Plan
from kdbench.progress import Progress
from kdbench.results import Store
from kdbench.sessions import SessionRecorder
from kdbench.tuning import Trial, TuningResult, default_matrix, find_label, tune


def tune_method(method: str, matrix: Path | None, trials: int, results: Path, console: Console) -> None:
    """Search the hyperparameters of a method and print the best configuration as TOML for a matrix.

    Raises:
        KdbenchError: the method cannot be tuned.
    """
    base = load(matrix) if matrix else default_matrix()
    label, _ = find_label(method, base)
    store = Store(results)
    pair = base.pairs[0]
    print_line(
        console,
        f"tuning {label} on {base.datasets[0]}, {pair.teacher} -> {pair.student}: {count_of(trials, 'trial')} x "
        f"{count_of(len(base.protocol.search_seeds or base.seeds), 'seed')}, chosen by validation accuracy",
    )
    with SessionRecorder(store, base.name) as recorder, Progress(store, console, recorder.activity) as progress:

        def show_progress(plan: Plan) -> EventHandler:
            progress.show(plan)
            return recorder.observe(plan, progress.on_event)

        result = tune(method, base, trials, store, show_progress)
    _print(result, label, results, console)


def _print(result: TuningResult, label: str, results: Path, console: Console) -> None:
    seeds = list_seeds("seed", result.seeds)
    failed = (
        f"failed: {count_of(trial.num_failed, 'run')} of {len(trial.scores) + trial.num_failed} with "
        f"{format_configuration(trial.configuration)}"
        for trial in result.trials
        if trial.num_failed
    )
    for line in (
        f"best of {count_of(len(result.trials), 'trial')} ({result.num_failed} with failed runs): validation accuracy "
        f"{_score(result.best)}; defaults ({format_configuration(result.default.configuration)}): "
        f"{_score(result.default)}",
        f"validation accuracy: mean over {seeds}, on {count_of(result.validation_images, 'validation image')}; the "
        "best of several trials is optimistic, so rerun it on other seeds",
        *failed,
        "for a matrix:",
        "",
        f"[methods.{_quote(label)}]",
        *_toml_lines(result.table),
        "",
        f"all trials: {command('report', result.matrix, results=results)}",
    ):
        print_line(console, line)


def _score(trial: Trial) -> str:
    if trial.score is None:
        return "no score"
    return f"{trial.score:.4f}" + (f" ({count_of(trial.num_failed, 'failed run')})" if trial.num_failed else "")


def _toml_lines(table: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _toml_lines(value, f"{prefix}{_quote(key)}.")
        else:
            yield f"{prefix}{_quote(key)} = {_toml_value(value)}"


def _toml_value(value: object) -> str:
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{_quote(key)} = {_toml_value(one)}' for key, one in value.items())} }}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml_value, value))}]"
    return repr(value) if isinstance(value, float) else json.dumps(value, ensure_ascii=False)


def _quote(name: str) -> str:
    return name if re.fullmatch("[A-Za-z0-9_-]+", name) else json.dumps(name, ensure_ascii=False)
