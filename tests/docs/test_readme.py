"""The README is short, and what it shows is what the program does."""

import importlib
import re
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from kdbench import load_matrix
from kdbench.cli.app import app
from kdbench.reporting import Column, Table, TableCell
from kdbench.reporting.table import LETTERS, superscript

PAGES = ("README.md", "docs/matrix.md")
BASE = 'name = "thesis"\ndatasets = ["digits"]\npairs = [{ teacher = "cnn_16_32_fc64", student = "cnn_4_8" }]\n'
MISTAKES = (
    "[methods.vanila]",
    "[methods.vanilla]\nalpha = 1.5",
    '[methods.vanilla]\nalpha = "0.5"',
    "[recipe]\nbatch_sise = 64",
    '[recipe.teacher]\nschedule = "plateau"\n[protocol]\nvalidation = 0',
    '[methods.vanilla]\nalpha = [0.5, 0.9]\ntemperature = [1, 2, 4]\nzip = [["alpha", "temperature"]]',
)


def quoted(page: Path, prefix: str) -> list[str]:
    return re.findall(rf"^{prefix}: .*$", page.read_text(encoding="utf-8"), re.MULTILINE)


def test_it_has_at_most_150_lines_and_1200_words(root: Path) -> None:
    text = (root / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 150
    assert len(text.split()) <= 1200


def test_its_matrix_has_twelve_lines_and_the_runs_of_the_quickstart(
    root: Path, folder: Path, code_block: Callable[..., str]
) -> None:
    text = code_block("README.md", language="toml")
    assert len(text.splitlines()) == 12
    (folder / "readme.toml").write_text(text)
    shown, shipped = (load_matrix(path).runs() for path in ("readme.toml", root / "matrices" / "quickstart.toml"))
    assert [run.id for run in shown] == [run.id for run in shipped]


def test_its_table_has_a_row_for_each_label_of_its_matrix(root: Path, code_block: Callable[..., str]) -> None:
    labels = ["teacher", "student from scratch", *tomllib.loads(code_block("README.md", language="toml"))["methods"]]
    text = (root / "README.md").read_text(encoding="utf-8")
    table = text.partition("begin table")[2].partition("end table")[0]
    rows = re.findall(r"^  (\S+(?: \S+)*)  +\d", table, re.MULTILINE)
    assert [row.rstrip(superscript(LETTERS) + ",") for row in rows] == labels


def test_the_image_has_the_numbers_of_the_text_and_loads_nothing(root: Path) -> None:
    svg = (root / "docs" / "assets" / "quickstart.svg").read_text(encoding="utf-8")
    text = (root / "README.md").read_text(encoding="utf-8").partition("begin table")[2].partition("end table")[0]
    assert re.findall(r"\d\d\.\d\d", text) == re.findall(
        r"\d\d\.\d\d", re.sub(r'="[^"]*"|<style.*?</style>', "", svg, flags=re.DOTALL)
    )
    assert "url(http" not in svg
    assert "href=" not in svg


def test_a_table_is_written_as_text_and_as_an_image(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(root / "scripts"))
    script = importlib.import_module("docs_quickstart")
    columns = (Column("method", is_numeric=False), Column("accuracy"))
    rows = ((TableCell("teacher"), TableCell("99.44")), (TableCell("vanilla"), TableCell("96.94")))
    table = Table("accuracy", "", "", columns, rows, num_baselines=1)
    assert script.as_text(table).splitlines()[3:] == ["  teacher      99.44", "  vanilla      96.94", "```"]
    svg = script.as_svg(table)
    assert svg.startswith("<svg ")
    assert "99.44" in svg
    assert "url(http" not in svg


def test_its_links_lead_to_files(root: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)\)", (root / "README.md").read_text(encoding="utf-8"))
    assert len(links) > 10
    assert [link for link in links if not (root / link).exists()] == []


def test_the_errors_it_shows_are_those_of_the_program(root: Path, folder: Path) -> None:
    printed = set()
    for mistake in MISTAKES:
        (folder / "thesis.toml").write_text(BASE + mistake)
        result = CliRunner().invoke(app, ["plan", "thesis.toml"])
        assert result.exit_code == 1
        printed |= set(result.stderr.splitlines())
    for page in PAGES:
        shown = quoted(root / page, "error")
        assert len(shown) >= 3
        assert set(shown) <= printed


def test_the_matrix_of_its_page_can_be_planned(root: Path, folder: Path, code_block: Callable[..., str]) -> None:
    (folder / "mymethods.py").write_text(code_block("docs/custom-method.md", title="mymethods.py"))
    (folder / "thesis.toml").write_text(code_block("docs/matrix.md", language="toml"))
    result = CliRunner().invoke(app, ["plan", "thesis.toml"])
    assert result.exit_code == 0, result.output
    printed = " ".join(result.output.split())
    (line,) = quoted(root / "docs" / "matrix.md", r"(?:incompatible|cannot run)")
    assert line in printed


@pytest.mark.parametrize("name", sorted(path.stem for path in (Path(__file__).parents[2] / "matrices").glob("*.toml")))
def test_every_shipped_matrix_is_described(root: Path, name: str) -> None:
    assert f"`{name}`" in (root / "docs" / "matrix.md").read_text(encoding="utf-8")
