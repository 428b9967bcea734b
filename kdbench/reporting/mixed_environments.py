"""Footnotes of columns whose rows were made in several environments."""

from collections.abc import Iterator, Mapping, Sequence

from kdbench.reporting.matrix_results import MatrixResults
from kdbench.reporting.pair import Pair
from kdbench.reporting.rows import Row

ENVIRONMENT: Mapping[str, str] = {  # columns of the results; the first one of a name that has values counts
    "kdbench_version": "kdbench",
    "numerics": "numerics",
    "torch_version": "torch",
    "processor": "processor",
    "device": "processor",
    "threads": "threads",
    "precision": "precision",
    "compile": "compile",
    "cuda_graphs": "CUDA graphs",
}


def mixed_environment_notes(results: MatrixResults, rows: Sequence[Row], pair: Pair) -> tuple[str, ...]:
    """Return one text per property of the environment in which the rows of a pair differ: which rows have which."""
    texts: dict[str, str] = {}
    for column, title in ENVIRONMENT.items():
        values = {row.name: found for row in rows if (found := _values(results, row, pair, column))}
        if title not in texts and len(set().union(*values.values())) > 1:
            texts[title] = f"{title}: {'; '.join(_groups(values))}"
    return tuple(texts.values())


def _values(results: MatrixResults, row: Row, pair: Pair, column: str) -> frozenset[str]:
    cell = row.choice_for(pair).chosen
    return frozenset() if cell is None else frozenset(results.texts(cell, column).values())


def _groups(values: Mapping[str, frozenset[str]]) -> Iterator[str]:
    """Yield each value with its rows; the value with the most rows comes last, for the others."""
    rows_by_value: dict[str, list[str]] = {}
    for name, found in values.items():
        for value in sorted(found):
            rows_by_value.setdefault(value, []).append(name)
    *few, (most_common, names) = sorted(rows_by_value.items(), key=lambda item: len(item[1]))
    yield from (f"{value} ({', '.join(found)})" for value, found in few)
    named = {name for _, found in few for name in found}
    yield f"{most_common} ({', '.join(names) if named & set(names) else 'the others'})"
