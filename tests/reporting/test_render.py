"""One table in every format."""

import csv
import io

import pytest

from kdbench.errors import ReportError
from kdbench.reporting import build_tables, render
from kdbench.reporting.formats.csv_file import render_csv
from kdbench.reporting.formats.latex import render_latex
from kdbench.reporting.formats.markdown import render_markdown


@pytest.fixture
def table(thesis):
    builder = thesis()
    return build_tables(builder.index, builder.frame)[0]


def test_the_formats_of_files(table) -> None:
    assert render(table, "markdown") == render_markdown(table)
    assert render(table, "latex") == render_latex(table, "accuracy")
    assert render(table, "csv") == render_csv(table)


def test_a_table_as_the_terminal_shows_it(table) -> None:
    lines = render(table, "table").splitlines()
    assert lines[0].strip() == "Accuracy"
    assert any(line.split()[:4] == ["dkd", "93.23", "±", "1.17"] for line in lines)
    assert "\x1b" not in "".join(lines)


@pytest.mark.parametrize("width", [60, 100])
def test_the_terminal_width_is_kept(table, width: int) -> None:
    assert max(map(len, render(table, "table", width).splitlines())) <= width


@pytest.mark.parametrize("name", ["table", "markdown", "latex", "csv"])
def test_every_format_shows_every_mean_and_ends_in_a_line_break(table, name) -> None:
    text = render(table, name)
    means = [cell.mean for row in table.rows for cell in row if cell.mean is not None]
    shown = "".join(text.split()) if name != "csv" else [v for row in csv.reader(io.StringIO(text)) for v in row]
    assert text.endswith("\n")
    assert means
    assert all((repr(100 * mean) if name == "csv" else f"{abs(100 * mean):.2f}") in shown for mean in means)


def test_an_unknown_format_is_refused(table) -> None:
    with pytest.raises(ReportError, match="unknown format 'html'; valid: table, markdown, latex, csv"):
        render(table, "html")
