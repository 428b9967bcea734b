"""Runs and workers in a line of text."""

from collections.abc import Iterable, Sequence

from kdbench.formatting import count_of, format_duration
from kdbench.matrix import RunSpec
from kdbench.results.sessions import WorkerActivity


def name_runs(specs: Sequence[RunSpec]) -> str:
    """Return the networks, the data set, the seed and the methods of runs that train side by side."""
    if not specs:
        return ""
    networks = _join(spec.student.name for spec in specs)
    methods = _join(spec.method for spec in specs)
    count = f"{count_of(len(specs), 'run')}: " if len(specs) > 1 else ""
    return f"{networks} on {specs[0].dataset.name}, seed {specs[0].seed} ({count}{methods})"


def describe_worker(worker: WorkerActivity) -> tuple[str, str, str]:
    """Return what a worker does, how far it is, and the scores of its last epoch; each can be empty."""
    if worker.state == "idle":
        return f"idle for {format_duration(worker.seconds)}", "", ""
    if worker.state == "timing":
        return f"timing the inference of {worker.task}", "", ""
    if worker.state == "measuring":
        return f"measuring a few steps of {worker.task}", "", ""
    if worker.state == "starting":
        return worker.task, "starting", ""
    if worker.epoch is None:
        return worker.task, f"started {format_duration(worker.seconds)} ago", ""
    left = "" if worker.seconds_left is None else f", {format_duration(worker.seconds_left)} left"
    accuracy = "" if worker.val_accuracy is None else f", best validation accuracy {worker.val_accuracy:.3f}"
    scores = "" if worker.loss is None else f"loss {worker.loss:.3f}{accuracy}"
    return worker.task, f"epoch {worker.epoch}/{worker.epochs}{left}", scores


def describe_idle(workers: Sequence[WorkerActivity], limit: int = 3) -> str:
    """Return which workers are idle, and for how long; with many their number; empty without any."""
    idle = [worker for worker in workers if worker.state == "idle"]
    if len(idle) > limit:
        return f"{len(idle)} of {count_of(len(workers), 'worker')} idle"
    return ", ".join(f"worker {worker.worker} {describe_worker(worker)[0]}" for worker in idle)


def _join(names: Iterable[str], limit: int = 3) -> str:
    """Join the distinct names, at most `limit` of them."""
    distinct = list(dict.fromkeys(names))
    return ", ".join([*distinct[:limit], *(["..."] if len(distinct) > limit else [])])
