"""Comparisons of the rows of a table, and the sentences about them."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import final

from kdbench.analysis import (
    MIN_SEEDS,
    Comparison,
    compare_candidates,
    detectable_difference,
    measure_spread,
    seeds_to_detect,
    visible_difference,
)
from kdbench.formatting import format_range
from kdbench.reporting.matrix_results import MatrixResults
from kdbench.reporting.pair import Pair
from kdbench.reporting.rows import Row
from kdbench.reporting.table import UNTESTED, TableCell
from kdbench.results.index import IndexCell

HALF_A_POINT = 0.005


@final
@dataclass(frozen=True)
class ColumnComparison:
    """The comparison of the rows of one column: its name, and the number of images behind its scores."""

    name: str
    comparison: Comparison
    images: int


def measure_cells(results: MatrixResults, cells: Sequence[IndexCell], column: str, name: str = "") -> ColumnComparison:
    """Return the spread of configurations of one data set, which are not tested: bold is the chosen one."""
    images = results.count_images(cells[0], column)
    return ColumnComparison(
        name, measure_spread(results.scores(cells, column), results.failed_positions(cells)), images
    )


def compare_rows(
    results: MatrixResults, rows: Sequence[Row], pair: Pair, column: str, name: str = ""
) -> ColumnComparison:
    """Return the comparison of the students on a pair, by the positions of their rows; the teacher is left out."""
    students = [None if row.kind == "teacher" else row.choice_for(pair).chosen for row in rows]
    known = [cell for cell in students if cell is not None]
    if not known:
        return ColumnComparison(name, Comparison(), 0)
    images = results.count_images(known[0], column)
    scores, failed = results.scores(students, column), results.failed_positions(students)
    return ColumnComparison(name, compare_candidates(scores, images, failed), images)


def describe_bold(columns: Sequence[ColumnComparison]) -> str:
    """Return what bold means: what was tested, and which differences cannot be distinguished from chance."""
    by_text: dict[str, list[str]] = {}
    for seeds in dict.fromkeys(one.comparison.seeds for one in columns):
        same = [one for one in columns if one.comparison.seeds == seeds]
        for is_alone in (False, True):
            described = [one for one in same if (one.comparison.candidates < 2) == is_alone]
            if described and seeds:
                by_text[_bold(described)] = [one.name for one in described]
    if len(by_text) == 1:
        return f"Bold: {next(iter(by_text))}."
    texts = (f"{text} ({'; '.join(names)})" for text, names in by_text.items())
    return f"Bold: {'. '.join(texts)}." if by_text else ""


def _bold(columns: Sequence[ColumnComparison]) -> str:
    """Return what bold means in columns with the same number of seeds."""
    first = columns[0].comparison
    if first.candidates < 2:
        return "the only student with a score that can be compared"
    if first.is_tested:
        return (
            "the student with the highest mean and all that cannot be excluded from being the best (paired "
            f"comparisons by steps over {first.seeds} common seeds; family-wise error of a column 5 %)"
        )
    if first.seeds == 1:
        return "the highest score alone; one seed shows no spread, so no difference can be distinguished from chance"
    untested = f"the highest mean alone, since nothing is tested with fewer than {MIN_SEEDS} common seeds"
    if any(one.comparison.spread is None for one in columns):
        return untested
    return (
        f"{untested}. {first.seeds} "
        f"seeds: differences under {_points(columns, _visible)} cannot be distinguished from chance"
    )


def describe_gains(cells: Iterable[TableCell]) -> str:
    """Return what a gain and its interval are; empty without gains."""
    gains = [cell for cell in cells if cell.mean is not None]
    if not gains:
        return ""
    gain = "Gain: mean paired difference to the student from scratch in percentage points"
    with_interval = sum(cell.interval is not None for cell in gains)
    if not with_interval:
        return f"{gain}; one common seed gives no interval."
    others = "" if with_interval == len(gains) else "; none with one common seed"
    return f"{gain}, with its 95 % interval over common seeds in brackets (paired t; each gain alone{others})."


def make_notes(
    columns: Sequence[ColumnComparison], lines: Iterable[Sequence[TableCell]] = (), noun: str = "students"
) -> tuple[str, ...]:
    """Return a note about rows that are not compared, and the resolution, by number of common seeds."""
    untested = f"{UNTESTED} not compared with the best: a seed failed, or the row has fewer seeds than others."
    has_untested = any(cell.is_untested for line in lines for cell in line)
    return (*((untested,) if has_untested else ()), *_resolutions(columns, noun))


def _resolutions(columns: Sequence[ColumnComparison], noun: str) -> tuple[str, ...]:
    compared = [one for one in columns if one.comparison.candidates > 1]
    several = len({one.comparison.seeds for one in compared}) > 1
    notes = []
    for seeds in dict.fromkeys(one.comparison.seeds for one in compared):
        same = [one for one in compared if one.comparison.seeds == seeds]
        where = f" ({'; '.join(one.name for one in same)})" if several else ""
        notes.append(f"Resolution{where}: {_resolution(same, noun)}.")
    return tuple(notes)


def _resolution(columns: Sequence[ColumnComparison], noun: str) -> str:
    seeds = columns[0].comparison.seeds
    if seeds < 2:
        return "unknown, since one seed shows no spread"
    if any(one.comparison.spread is None for one in columns):
        return f"unknown, since all {noun} have equal scores on every seed"
    candidates = format_range([one.comparison.candidates for one in columns])
    spread = f"the paired spread on one seed is {_points(columns, lambda one: one.comparison.spread or 0.0)}"
    seen = f"{_points(columns, _detectable)} between two of {candidates} {noun} with 80 % power"
    able = f"{seeds} seeds see" if seeds >= MIN_SEEDS else f"a test needs {MIN_SEEDS} seeds, which see"
    return f"{able} a difference of {seen}; half a point needs {_needed(columns)} ({spread})"


def _needed(columns: Sequence[ColumnComparison]) -> str:
    numbers = [
        seeds_to_detect(HALF_A_POINT, one.comparison.spread or 0.0, one.comparison.candidates, one.images)
        for one in columns
    ]
    known = [number for number in numbers if number is not None]
    if len(known) == len(numbers):
        return f"{format_range(known)} seeds"
    return "more images" if not known else f"{min(known)} seeds or more images"


def _visible(one: ColumnComparison) -> float:
    found = one.comparison
    return visible_difference(found.spread or 0.0, found.seeds, found.candidates, one.images)


def _detectable(one: ColumnComparison) -> float:
    found = one.comparison
    seeds = max(found.seeds, MIN_SEEDS)
    return detectable_difference(found.spread or 0.0, seeds, found.candidates, one.images)


def _points(columns: Sequence[ColumnComparison], value: Callable[[ColumnComparison], float]) -> str:
    """Return the range of a difference over columns, in percentage points."""
    return f"{format_range([100 * value(one) for one in columns], digits=2)} points"
