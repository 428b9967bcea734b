"""The sentences that say how a table's numbers came about."""

from collections.abc import Iterable, Sequence

from kdbench.reporting.rows import Row, configuration
from kdbench.reporting.runs import Pair, Runs
from kdbench.reporting.selection import SUFFIX, WORDS, criterion
from kdbench.reporting.table import INCOMPLETE, NOTHING, TableCell


def caption(runs: Runs, what: str) -> str:
    """What is shown, over how many seeds, of which epoch, and what +- is."""
    over = f"mean ± sample standard deviation over {runs.seeds} seeds" if runs.seeds > 1 else "one seed"
    return f"{what}, {over}; selection: {WORDS[runs.selection]}."


def bold(runs: Runs) -> str:
    """What bold means."""
    if runs.seeds < 2:
        return "Bold: the best student; with one seed nothing can be tested, so others may be as good."
    return (
        "Bold: the best student and all that are not distinguishable from it (paired two-sided t-test over common "
        "seeds, 5 % level, not corrected for multiple comparisons)."
    )


def chosen_by(runs: Runs, rows: Sequence[Row]) -> str:
    """How a label with several configurations came to one number; empty where no label has several."""
    if not any(len(choice.tried) > 1 for row in rows for choice in row.choices.values()):
        return ""
    if runs.selection == "best_test":
        return "Hyperparameters: the configuration with the best mean test accuracy (optimistic)."
    return "Hyperparameters: the configuration with the best mean validation accuracy, whatever its test score."


def configurations(rows: Sequence[Row], pairs: Sequence[Pair]) -> tuple[str, ...]:
    """A line a method: the hyperparameters of what is shown, and on which pairs where these differ."""
    return tuple(f"{row.name}: {text}" for row in rows if row.kind == "method" and (text := _configuration(row, pairs)))


def _configuration(row: Row, pairs: Sequence[Pair]) -> str:
    found: dict[str, list[str]] = {}
    for pair in pairs:
        if (cell := row.at(pair).chosen) is not None:
            where = found.setdefault(configuration(cell.hyperparameters) or "no hyperparameters", [])
            where.append(f"{pair.networks} on {pair.dataset}")
    if len(found) == 1:
        return next(iter(found))
    return "; ".join(f"{text} ({'; '.join(where)})" for text, where in found.items())


def agreement(runs: Runs) -> tuple[str, ...]:
    """Says so where the agreement with the teacher is not that of the selection."""
    wanted = f"teacher_agreement{SUFFIX[runs.selection]}"
    last = runs.agreement != wanted and runs.has(runs.agreement)
    return ("Agreement with the teacher is that of the last epoch.",) if last else ()


def notes(runs: Runs, rows: Sequence[Row], cells: Iterable[TableCell]) -> tuple[str, ...]:
    """What a reader must know of these rows and cells before trusting a number."""
    shown = list(cells)
    every = {
        "Validation is 0, so nothing can be chosen: each configuration of a label is a row of its own.": _split(runs),
        f"{INCOMPLETE} incomplete: the mean of the n runs that are done, fewer than planned.": any(
            cell.incomplete for cell in shown
        ),
        "The choice among configurations is provisional: some of them are not complete.": _provisional(runs, rows),
        "n/a: the method cannot run on this pair; the report says why.": any(cell.text == "n/a" for cell in shown),
        f"{NOTHING} the matrix leaves this cell out; the report says why.": bool(runs.index.excluded)
        and any(cell.text == NOTHING and cell.missing for cell in shown),
        "The teacher is one run, shared by all seeds.": _shared_teacher(runs, rows),
    }
    return tuple(note for note, holds in every.items() if holds)


def _split(runs: Runs) -> bool:
    cells = [cell for cell in runs.index.cells if cell.kind == "method"]
    return criterion(runs.index, runs.selection) is None and len(cells) > len(
        {(cell.label, cell.dataset, cell.teacher, cell.student) for cell in cells}
    )


def _provisional(runs: Runs, rows: Sequence[Row]) -> bool:
    swept = [choice.tried for row in rows for choice in row.choices.values() if len(choice.tried) > 1]
    ids = {run for tried in swept for cell in tried for run in cell.runs.values()}
    return any(runs.status(run) != "done" for run in ids)


def _shared_teacher(runs: Runs, rows: Sequence[Row]) -> bool:
    teachers = [
        cell for row in rows if row.kind == "teacher" for choice in row.choices.values() for cell in choice.tried
    ]
    return runs.seeds > 1 and bool(teachers) and all(len(cell.runs) == 1 for cell in teachers)
