"""Sentences in captions and notes: how the numbers of a table were obtained."""

from collections.abc import Iterable, Sequence

from kdbench.formatting import format_configuration, list_seeds
from kdbench.reporting.early_stopping import early_stopping_note
from kdbench.reporting.matrix_results import MatrixResults
from kdbench.reporting.pair import Pair
from kdbench.reporting.rows import Row
from kdbench.reporting.search_budget import has_search
from kdbench.reporting.selection import DESCRIPTIONS, choice_column
from kdbench.reporting.sums import sum_notes
from kdbench.reporting.table import DASH, INCOMPLETE, TableCell

BOLD_CHOSEN = "Bold: the chosen configuration, which the other tables show."


def join(*sentences: str) -> str:
    """Return the sentences that are not empty as one paragraph."""
    return " ".join(sentence for sentence in sentences if sentence)


def describe_numbers(results: MatrixResults, subject: str, is_search: bool = False) -> str:
    """Return what is shown, over how many seeds or search seeds, what ± is, the selection, and whether refit."""
    seeds, noun = (len(results.index.search_seeds), "search seed") if is_search else (results.num_seeds, "seed")
    over = f"mean ± sample standard deviation over {seeds} {noun}s" if seeds > 1 else f"one {noun}"
    refit = "; trained on training and validation images (refit)" if results.index.refit and not is_search else ""
    return f"{subject}, {over}; selection: {DESCRIPTIONS[results.selection]}{refit}."


def describe_choice(results: MatrixResults, rows: Sequence[Row]) -> str:
    """Return how hyperparameters were chosen; empty if no row has several configurations."""
    if not has_search(rows):
        return ""
    if results.index.search_seeds:
        seeds = list_seeds("search seed", results.index.search_seeds)
        epoch = "" if results.selection == "last" else " of the saved weights"
        return f"Hyperparameters: chosen by mean validation accuracy{epoch} on {seeds} alone; the test set is not used."
    if results.selection == "best_test":
        return "Hyperparameters: chosen by mean test accuracy (optimistic)."
    return (
        "Hyperparameters: chosen by mean validation accuracy; the test set is not used. "
        "Chosen and reported on the same seeds (no search_seeds)."
    )


def list_configurations(rows: Sequence[Row], pairs: Sequence[Pair]) -> tuple[str, ...]:
    """Return one line per method, and one for a baseline that was searched: what is shown, by pair if pairs differ."""
    searched = (row for row in rows if row.kind == "method" or has_search([row]))
    return tuple(f"{row.name}: {text}" for row in searched if (text := _configuration(row, pairs)))


def _configuration(row: Row, pairs: Sequence[Pair]) -> str:
    pairs_by_text: dict[str, list[str]] = {}
    for pair in pairs:
        if (cell := row.choice_for(pair).chosen) is not None:
            text = format_configuration(cell.hyperparameters) or "no hyperparameters"
            pairs_by_text.setdefault(text, []).append(f"{pair.networks} on {pair.dataset}")
    if len(pairs_by_text) == 1:
        return next(iter(pairs_by_text))
    return "; ".join(f"{text} ({'; '.join(names)})" for text, names in pairs_by_text.items())


def make_notes(results: MatrixResults, rows: Sequence[Row], cells: Iterable[TableCell]) -> tuple[str, ...]:
    """Return the notes that apply to these rows and cells."""
    shown = list(cells)
    has_dash = any(cell.text == DASH and cell.is_missing for cell in shown)
    applies = {
        "protocol.validation is 0, so no configuration is chosen: each one has a row.": _is_split(results),
        f"{INCOMPLETE} incomplete: mean over the n finished runs, fewer than planned.": any(
            cell.is_incomplete for cell in shown
        ),
        "The choice of hyperparameters is provisional: not all runs are finished.": _is_provisional(results, rows),
        "n/a: incompatible; the report gives the reason.": any(cell.text == "n/a" for cell in shown),
        f"{DASH}: excluded by the matrix; the report gives the reason.": bool(results.index.excluded) and has_dash,
    }
    texts = (early_stopping_note(results, rows), *applies, _shared_teacher_note(rows), *sum_notes(rows))
    return tuple(text for text in texts if text and applies.get(text, True))


def _is_split(results: MatrixResults) -> bool:
    """Return whether labels with several configurations have a row for each of them."""
    cells = [cell for cell in results.index.cells if cell.kind == "method"]
    labels = {(cell.label, Pair.of(cell)) for cell in cells}
    return choice_column(results.index, results.selection) is None and len(cells) > len(labels)


def _is_provisional(results: MatrixResults, rows: Sequence[Row]) -> bool:
    several = [choice for row in rows for choice in row.choices.values() if len(choice.candidates) > 1]
    choices = [choice for choice in several if not (choice.is_searched and choice.chosen)]
    run_ids = {run for choice in choices for cell in choice.candidates for run in cell.runs.values()}
    return any(results.status(run) in ("pending", "running") for run in run_ids)


def _shared_teacher_note(rows: Sequence[Row]) -> str:
    """Return that the seeds share a teacher run; empty if some row has several, or if there is one seed."""
    chosen = [choice.chosen for row in rows if row.kind == "method" for choice in row.choices.values()]
    cells = [cell for cell in chosen if cell is not None and len(cell.teachers) > 1]
    if not cells or any(len(set(cell.teachers.values())) > 1 for cell in cells):
        return ""
    teachers = {(Pair.of(cell), run) for cell in cells for run in cell.teachers.values()}
    if len(teachers) == len({pair for pair, _ in teachers}):
        return "All seeds share one teacher run."
    return "All seeds of a row share one teacher run."
