"""From a results folder to a folder of reports."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from kdbench.errors import ReportError, did_you_mean
from kdbench.reporting import csv_file, latex, markdown
from kdbench.reporting.contents import tables
from kdbench.reporting.runs import Runs
from kdbench.reporting.selection import WORDS, Selection
from kdbench.reporting.table import Table
from kdbench.results import MatrixIndex, load_indexes

if TYPE_CHECKING:
    import pandas as pd


def report(
    results_root: Path | str,
    reports_root: Path | str,
    names: Sequence[str] = (),
    selection: Selection = "last",
    frame: "pd.DataFrame | None" = None,
) -> tuple[Path, ...]:
    """Write `<reports_root>/<matrix>/report.md` and `tables/*.tex`, `*.csv`; without names, of every matrix.

    `frame` is what `load_results` gives, where that has been read already. Returns the paths written.

    Raises:
        ReportError: no matrix has been run here, a name is not known, or a matrix cannot serve the selection.
    """
    from kdbench.results.table import load_results

    indexes = _chosen(load_indexes(str(results_root)), names, results_root)
    frame = load_results(str(results_root)) if frame is None else frame
    texts = {
        Path(reports_root) / index.name / path: text
        for index in indexes
        for path, text in files(index, frame, selection).items()
    }
    for path, text in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")
    return tuple(texts)


def files(index: MatrixIndex, frame: "pd.DataFrame", selection: Selection = "last") -> dict[str, str]:
    """The texts of a matrix's report by their paths inside its folder."""
    shown = list(_named_apart(tables(index, frame, selection)))
    texts = {"report.md": "\n".join([_head(Runs(index, frame, selection)), *map(markdown.render, shown)])}
    for table in shown:
        texts[f"tables/{table.name}.tex"] = latex.render(table, label=f"{index.name}-{table.name}")
        texts[f"tables/{table.name}.csv"] = csv_file.render(table)
    return texts


def _chosen(indexes: Sequence[MatrixIndex], names: Sequence[str], root: Path | str) -> list[MatrixIndex]:
    known = {index.name: index for index in indexes}
    if not known:
        raise ReportError(f"no matrix has been run into '{root}'; run `kdbench run MATRIX.toml` first")
    for name in names:
        if name not in known:
            raise ReportError(f"no matrix '{name}' in '{root}'; {did_you_mean(name, known)}")
    return [known[name] for name in dict.fromkeys(names or known)]


def _named_apart(made: Iterable[Table]) -> Iterator[Table]:
    """The tables with names that are fit for files and all different."""
    seen: Counter[str] = Counter()
    for table in made:
        name = latex.slug(table.name)
        seen[name] += 1
        yield replace(table, name=name if seen[name] == 1 else f"{name}-{seen[name]}")


def _made_with(runs: Runs) -> Iterator[tuple[str, list[str]]]:
    """What the numbers were made with; several values are a warning to the reader."""
    columns = ("kdbench_version", "git_commit", "torch_version", "device", "precision")
    for column in columns:
        yield column.replace("_version", "").replace("_", " "), runs.different(column)
    for option in ("compile", "cuda_graphs"):
        if "True" in (found := runs.different(option)):
            yield option, found


def _head(runs: Runs) -> str:
    index, count = runs.index, runs.count(runs.index.run_ids)
    states = ", ".join(f"{count[state]} {state}" for state in ("done", "failed", "pending"))
    lines = (
        f"# {markdown.escape(index.name)}",
        f"- matrix: {markdown.escape(index.file)}",
        f"- selection: {WORDS[runs.selection]}",
        f"- validation: {f'{index.validation:.6g} of the training images' if index.validation else 'none'}",
        f"- seeds: {runs.seeds}",
        f"- runs: {states}",
        *(f"- {title}: {markdown.escape(', '.join(found))}" for title, found in _made_with(runs) if found),
    )
    return lines[0] + "\n\n" + "\n".join(lines[1:]) + "\n"
