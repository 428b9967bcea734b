"""Footnotes of rows: in what a row differs from the student from scratch, apart from its method."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import final

from kdbench.formatting import count_of, list_seeds
from kdbench.reporting.matrix_results import MatrixResults
from kdbench.reporting.pair import Pair
from kdbench.reporting.rows import BASELINES, Row, find_baseline, find_teacher
from kdbench.reporting.table import TableCell
from kdbench.reporting.training_text import describe_difference
from kdbench.reporting.training_time import needed_runs
from kdbench.results.index import IndexCell

SWEPT_RECIPE = "recipe."  # begins the name of a recipe value that is swept like a hyperparameter


@final
@dataclass(frozen=True)
class RowNote:
    """A footnote of a row on a pair."""

    text: str
    is_budget: bool = True  # whether it makes a gain one between unequal conditions


@final
@dataclass(frozen=True)
class NotedRow:
    """The cell with the name of a row, and the footnotes that do not hold on all pairs."""

    name: TableCell
    by_pair: Mapping[Pair, tuple[str, ...]]


def note_rows(results: MatrixResults, rows: Sequence[Row], pairs: Sequence[Pair]) -> list[NotedRow]:
    """Return the names of the rows with the footnotes that hold on all of these pairs, and the others by pair."""
    return [_note_row(row, {pair: row_notes(results, rows, row, pair) for pair in pairs}) for row in rows]


def name_cells(results: MatrixResults, rows: Sequence[Row], pair: Pair) -> list[TableCell]:
    """Return the names of the rows with their footnotes, for a table of one pair."""
    return [row.name for row in note_rows(results, rows, [pair])]


def gain_footnotes(results: MatrixResults, rows: Sequence[Row], row: Row, pair: Pair) -> tuple[str, ...]:
    """Return the footnotes that mark a gain as one between unequal conditions."""
    return tuple(note.text for note in row_notes(results, rows, row, pair) if note.is_budget)


def row_notes(results: MatrixResults, rows: Sequence[Row], row: Row, pair: Pair) -> tuple[RowNote, ...]:
    """Return the footnotes of a row on a pair; none if it shows no cell there."""
    cell, scratch = row.choice_for(pair).chosen, find_baseline(rows, pair)
    baseline = scratch.chosen or next(iter(scratch.candidates), None)  # a search that failed still has its recipe
    if cell is None:
        return ()
    notes = [*_training_notes(results, rows, cell, baseline)]
    if cell.kind == "method":
        notes += [*_teacher_notes(rows, cell, baseline, pair), *_seed_notes(cell, baseline)]
    return tuple(dict.fromkeys([*notes, *_run_notes(results, cell)]))


def _note_row(row: Row, notes: Mapping[Pair, Sequence[RowNote]]) -> NotedRow:
    texts = {pair: [note.text for note in found] for pair, found in notes.items() if row.choice_for(pair).chosen}
    every = dict.fromkeys(text for one in texts.values() for text in one)
    common = tuple(text for text in every if all(text in one for one in texts.values()))
    by_pair = {pair: tuple(text for text in one if text not in common) for pair, one in texts.items()}
    return NotedRow(TableCell(row.name, footnotes=common), by_pair)


def _training_notes(
    results: MatrixResults, rows: Sequence[Row], cell: IndexCell, baseline: IndexCell | None
) -> Iterator[RowNote]:
    """Yield how the training of a cell differs from that of the baseline; a teacher's own from the pair's teacher's."""
    other, name = baseline, BASELINES["scratch"]
    if cell.kind == "teacher" and cell.label != BASELINES["teacher"]:
        other, name = find_teacher(rows, Pair.of(cell)), BASELINES["teacher"]
    trainings = [results.training(one) for one in (cell, other)]
    if trainings[0] is None or trainings[1] is None or other is None or cell is other:
        return
    mine, others = describe_difference(trainings[0], trainings[1], _swept_by_both(cell, other))
    if mine:
        yield RowNote(f"{mine}; {name}: {others}")


def _swept_by_both(cell: IndexCell, other: IndexCell) -> set[str]:
    """Return the keys of the recipe that both search, whose values are listed as hyperparameters; never the epochs."""
    both = cell.hyperparameters.keys() & other.hyperparameters.keys()
    return {name.removeprefix(SWEPT_RECIPE) for name in both if name.startswith(SWEPT_RECIPE)} - {"epochs"}


def _teacher_notes(rows: Iterable[Row], cell: IndexCell, baseline: IndexCell | None, pair: Pair) -> Iterator[RowNote]:
    if baseline is None or not cell.teachers or not baseline.teachers:
        return
    common = cell.teachers.keys() & baseline.teachers.keys()
    if any(cell.teachers[seed] != baseline.teachers[seed] for seed in common):
        runs = set(cell.teachers.values())
        shown = {row.name: row.choice_for(pair).chosen for row in rows if row.kind == "teacher"}
        names = [name for name, one in shown.items() if one is not None and runs <= set(one.runs.values())]
        yield RowNote(f"its teacher: {names[0]}" if names else "it has a teacher of its own, not that of the pair")


def _seed_notes(cell: IndexCell, baseline: IndexCell | None) -> Iterator[RowNote]:
    if baseline is not None and cell.runs.keys() != baseline.runs.keys():
        mine, others = (list_seeds("seed", one.runs) for one in (cell, baseline))
        yield RowNote(f"{mine}; {BASELINES['scratch']}: {others}; the gain is over their common seeds")


def _run_notes(results: MatrixResults, cell: IndexCell) -> Iterator[RowNote]:
    """Yield what the finished runs of a cell have in their results."""
    further = max((len(needed_runs(results, cell, *one)) - 1 for one in cell.runs.items()), default=0)
    if further and cell.kind == "method":
        yield RowNote(f"{count_of(further, 'further network')} trained first, for each seed")
    for text in results.texts(cell, "method_recipe").values():
        yield RowNote(f"set by the method: {text}")
    for seed, text in results.texts(cell, "environment_changes").items():
        yield RowNote(f"seed {seed} was resumed in another environment: {text}", is_budget=False)
    if text := _student_steps(results, cell):
        yield RowNote(text)


def _student_steps(results: MatrixResults, cell: IndexCell) -> str:
    """Return how many steps the student takes, if it takes more or fewer than one per batch."""
    steps, batches = results.values(cell, "student_steps").align(results.values(cell, "steps"), join="inner")
    if steps.empty or not batches.gt(0).all() or (steps == batches).all():
        return ""
    return f"{(steps / batches).mean():.3g} steps of the student per batch; {BASELINES['scratch']}: 1"
