"""Where times were measured: in the caption of a table if it is one environment, else in notes that name the rows."""

from collections.abc import Callable, Iterable, Sequence

from kdbench.formatting import count_of
from kdbench.reporting.matrix_results import MatrixResults
from kdbench.reporting.pair import Pair
from kdbench.reporting.rows import Row
from kdbench.reporting.training_time import needed_runs
from kdbench.results.index import IndexCell
from kdbench.results.timings import TimingEnvironment

RowsByEnvironment = dict[str, list[str]]  # description of an environment -> names of rows


def inference_environments(results: MatrixResults, rows: Iterable[Row], pair: Pair) -> RowsByEnvironment:
    """Return where the inference of the rows' networks was timed."""
    return _group(rows, pair, lambda cell: [_describe_timing(results, run) for run in cell.runs.values()])


def training_environments(results: MatrixResults, rows: Iterable[Row], pair: Pair) -> RowsByEnvironment:
    """Return where the rows' runs, and the runs that they need, were trained."""

    def describe(cell: IndexCell) -> list[str]:
        runs = [needed for seed, run in cell.runs.items() for needed in needed_runs(results, cell, seed, run)]
        return [_describe_training(results, run) for run in runs]

    return _group(rows, pair, describe)


def describe_environment(environments: RowsByEnvironment) -> str:
    """Return the one environment for a caption, or a reference to the notes; empty if nothing was measured."""
    if len(environments) > 1:
        return " (on several machines or with several versions: see the notes)"
    return "".join(f" ({environment})" for environment in environments)


def environment_notes(subject: str, environments: RowsByEnvironment) -> tuple[str, ...]:
    """Return a note per environment if there are several, whose times do not compare."""
    if len(environments) < 2:
        return ()
    return tuple(f"{subject} of {', '.join(names)}: {environment}." for environment, names in environments.items())


def _group(rows: Iterable[Row], pair: Pair, describe: Callable[[IndexCell], Sequence[str]]) -> RowsByEnvironment:
    found: RowsByEnvironment = {}
    for row in rows:
        cell = row.choice_for(pair).chosen
        for environment in dict.fromkeys(describe(cell) if cell is not None else ()):
            if environment:
                found.setdefault(environment, []).append(row.name)
    return found


def _describe_timing(results: MatrixResults, run: str) -> str:
    values = [results.value(run, f"timing_{key}") for key in ("processor", "device", "torch_version", "precision")]
    if None in values:
        return ""
    processor, device, torch, precision = map(str, values)
    return str(TimingEnvironment(processor, device, torch, int(results.number(run, "timing_threads") or 1), precision))


def _describe_training(results: MatrixResults, run: str) -> str:
    """Return the device, threads, precision, torch and options of a finished run; empty if it is not finished."""
    device = results.value(run, "processor") or results.value(run, "device")
    if device is None:
        return ""
    threads = int(results.number(run, "threads") or 0)
    parts = [
        str(device),
        count_of(threads, "CPU thread") if threads else "",
        str(results.value(run, "precision") or ""),
        f"torch {version}" if (version := results.value(run, "torch_version")) else "",
        "torch.compile (compilation included)" if results.value(run, "compile") else "",
        "CUDA graphs" if results.value(run, "cuda_graphs") else "",
    ]
    return ", ".join(filter(None, parts))
