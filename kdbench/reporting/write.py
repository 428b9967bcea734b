"""From a results folder to a folder of reports."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, final

from kdbench.errors import ReportError, did_you_mean
from kdbench.reporting.build import build_tables
from kdbench.reporting.formats.csv_file import render_csv
from kdbench.reporting.formats.latex import render_latex
from kdbench.reporting.formats.latex_text import slug
from kdbench.reporting.formats.markdown import escape, render_markdown
from kdbench.reporting.matrix_results import MatrixResults
from kdbench.reporting.predictions import PredictionReader
from kdbench.reporting.protocol import head_lines
from kdbench.reporting.rows import make_rows
from kdbench.reporting.selection import DESCRIPTIONS, Selection
from kdbench.reporting.sessions import describe_matrix_sessions
from kdbench.reporting.table import Table
from kdbench.results import MatrixIndex, load_indexes
from kdbench.results.timings import read_timings

if TYPE_CHECKING:
    import pandas as pd


@final
@dataclass(frozen=True)
class Report:
    """The report of one matrix: its tables, and the files that were written."""

    matrix: str
    summary: str  # Markdown: the matrix, the selection, the states of its runs, and the environment
    tables: tuple[Table, ...]
    paths: tuple[Path, ...] = ()

    @property
    def accuracy(self) -> Table:
        """The first table: test accuracy, one row per method and one column per pair."""
        return self.tables[0]

    def files(self) -> dict[str, str]:
        """Return the texts of the report's files by their paths in its folder."""
        tables = (render_markdown(table, is_alone=False) for table in self.tables)
        texts = {"report.md": "\n".join([self.summary, *tables])}
        for table in self.tables:
            texts[f"tables/{table.name}.tex"] = render_latex(table, label=f"{self.matrix}-{table.name}")
            texts[f"tables/{table.name}.csv"] = render_csv(table)
        return texts


def write_report(
    results_root: Path | str,
    reports_root: Path | str,
    names: Sequence[str] = (),
    selection: Selection = "last",
    frame: "pd.DataFrame | None" = None,
) -> tuple[Report, ...]:
    """Write the reports of some or all matrices of a results folder; print nothing.

    Writes `<reports_root>/<matrix>/report.md`, `tables/*.tex` and `tables/*.csv`. Nothing is written unless every
    report can be made.

    Args:
        results_root: the results folder.
        reports_root: the folder for the reports; it is created if it is missing.
        names: the names of the matrices; none means all.
        selection: the epoch whose weights are scored: "last", "best_validation" or "best_test".
        frame: what `load_results(results_root)` returns, to avoid reading the results again.

    Raises:
        ReportError: the folder has no matrix, a name is unknown, a matrix does not support the selection, or the
            reports cannot be written.
    """
    from kdbench.results.table import load_results, time_matrix

    indexes = _indexes(names, results_root)
    frame = load_results(str(results_root)) if frame is None else frame
    timings = read_timings(Path(results_root) / "timings")
    predictions = PredictionReader.of(results_root)
    reports = [
        make_report(
            index,
            time_matrix(frame, index.run_ids, timings),
            selection,
            predictions,
            describe_matrix_sessions(Path(results_root) / "sessions", index, frame),
        )
        for index in indexes
    ]
    files = [report.files() for report in reports]
    try:
        paths = [_write(Path(reports_root) / one.matrix, texts) for one, texts in zip(reports, files, strict=True)]
    except OSError as error:
        raise ReportError(
            f"{reports_root}: the report cannot be written ({error.strerror}); choose another folder with --reports"
        ) from error
    return tuple(replace(report, paths=found) for report, found in zip(reports, paths, strict=True))


def make_report(
    index: MatrixIndex,
    frame: "pd.DataFrame",
    selection: Selection = "last",
    predictions: PredictionReader | None = None,
    sessions: str = "",
) -> Report:
    """Return the tables of a matrix, with names that are different and valid in file names; write nothing.

    `sessions` is a line of text for the summary; empty: none.

    Raises:
        ReportError: the matrix does not support the selection.
    """
    results = MatrixResults(index, frame, selection)
    summary = _summary(results, head_lines(results, make_rows(results)), sessions)
    return Report(index.name, summary, tuple(_with_file_names(build_tables(index, frame, selection, predictions))))


def _indexes(names: Sequence[str], root: Path | str) -> list[MatrixIndex]:
    known = {index.name: index for index in load_indexes(str(root))}
    if not known:
        raise ReportError(f"no matrix in '{root}'; run `kdbench run MATRIX.toml` first")
    for name in names:
        if name not in known:
            raise ReportError(f"no matrix '{name}' in '{root}'; {did_you_mean(name, known)}")
    return [known[name] for name in dict.fromkeys(names or known)]


def _with_file_names(tables: Iterable[Table]) -> Iterator[Table]:
    seen: Counter[str] = Counter()
    for table in tables:
        name = slug(table.name)
        seen[name] += 1
        yield replace(table, name=name if seen[name] == 1 else f"{name}-{seen[name]}")


def _write(folder: Path, texts: Mapping[str, str]) -> tuple[Path, ...]:
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")
    return tuple(folder / name for name in texts)


def _summary(results: MatrixResults, protocol: Iterable[str], sessions: str) -> str:
    index, count = results.index, results.count_by_status(results.index.run_ids)
    states = ", ".join(f"{count[state]} {state}" for state in ("done", "failed", "running", "pending"))
    lines = (
        f"# {escape(index.name)}",
        f"- matrix: {escape(index.file)}",
        f"- selection: {DESCRIPTIONS[results.selection]}",
        *(f"- {escape(line[0].lower() + line[1:].removesuffix('.'))}" for line in protocol),
        f"- validation: {f'{index.validation:.6g} of the training images' if index.validation else 'none'}",
        f"- runs: {states}",
        *([f"- training: {escape(sessions)}"] if sessions else []),
        *(f"- {title}: {escape(', '.join(values))}" for title, values in _environment(results) if values),
    )
    return lines[0] + "\n\n" + "\n".join(lines[1:]) + "\n"


def _environment(results: MatrixResults) -> Iterator[tuple[str, list[str]]]:
    """Yield titles and values of the versions, device and options of the runs; two values show a mixed environment."""
    for column in ("kdbench_version", "git_commit", "torch_version", "device", "precision"):
        yield column.replace("_version", "").replace("_", " "), results.unique_values(column)
    for option in ("compile", "cuda_graphs"):
        if "True" in (values := results.unique_values(option)):
            yield option, values
