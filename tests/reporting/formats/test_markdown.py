"""Markdown that is also readable as plain text."""

import re

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from kdbench.reporting import build_tables
from kdbench.reporting.formats.markdown import escape, render_grid, render_markdown
from kdbench.reporting.table import DASH, PERCENT, Column, Table, TableCell

TEXT = st.text(st.characters(exclude_categories=["C"]), max_size=30) | st.text("\\|`*_<[&\n\r\t ab", max_size=20)


def _table(*rows: tuple[TableCell, ...]) -> Table:
    columns = (Column("method", is_numeric=False), Column("a →\nb", group="digits"))
    return Table("t", "A title", "A caption.", columns, rows, ("A note.",))


def test_a_table_exactly() -> None:
    table = _table(
        (TableCell("x|y"), TableCell(mean=0.9, std=0.01, n=3, unit=PERCENT, is_best=True)),
        (TableCell("rkd_v2"), TableCell(DASH, is_missing=True)),
    )
    assert render_markdown(table) == (
        "## A title\n\nA caption.\n\n"
        "| method |    digits: a → b |\n"
        "| ------ | ---------------: |\n"
        "| x\\|y   | **90.00 ± 1.00** |\n"
        f"| rkd_v2 |                {DASH} |\n"
        "\nA note.\n"
    )


def test_hyperparameters_are_a_list_below_the_notes() -> None:
    table = Table("t", "T", "C.", (Column("a"),), ((TableCell("1"),),), ("Note.",), ("m_1: x = 1", "*: y = 2"))
    assert render_markdown(table).endswith("\n\nNote.\n\nHyperparameters:\n\n- m_1: x = 1\n- \\*: y = 2\n")


def test_markup_in_names_is_escaped() -> None:
    assert escape("a\nb | *c* <d> `e` [f](g) \\") == "a b \\| \\*c\\* \\<d> \\`e\\` \\[f\\](g) \\\\"
    assert escape("_x_ a_b __init__") == "\\_x\\_ a_b \\_\\_init\\_\\_"


@given(TEXT)
def test_escaped_text_is_one_line_without_a_bare_pipe_and_keeps_its_words(text: str) -> None:
    found = escape(text)
    assert len(found.splitlines()) <= 1
    assert not re.search(r"(?<!\\)(?:\\\\)*[|`*<]", found)
    assert re.sub(r"\\(.)", r"\1", found) == " ".join(text.split())


@given(st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=5))
def test_pipes_are_aligned_for_any_text(texts: list[tuple[str, str]]) -> None:
    lines = render_grid(_table(*((TableCell(a), TableCell(b)) for a, b in texts))).split("\n")
    assert len(lines) == len(texts) + 2
    assert len({cell_len(line) for line in lines}) == 1


def test_all_tables_of_a_report_are_rectangular(thesis) -> None:
    builder = thesis()
    for table in build_tables(builder.index, builder.frame):
        pipes = {len(re.findall(r"(?<!\\)\|", line)) for line in render_grid(table).split("\n")}
        assert pipes == {len(table.columns) + 1}


def test_footnotes_have_superscript_letters_below_the_table() -> None:
    cells = (TableCell("m_1", footnotes=("x", "*y*")), TableCell(mean=0.5, n=1, unit=PERCENT, footnotes=("x",)))
    found = render_markdown(Table("t", "T", "C.", (Column("a"), Column("b", footnotes=("z",))), (cells,), ("Note.",)))
    assert "bᵃ" in found
    assert "| m_1ᵇ,ᶜ | 50.00ᵇ |" in found
    assert found.endswith("\n\nᵃ z\n\nᵇ x\n\nᶜ \\*y\\*\n\nNote.\n")


def test_the_protocol_follows_where_a_table_stands_alone() -> None:
    table = Table("t", "T", "C.", (Column("a"),), ((TableCell("1"),),), protocol=("Seeds: 0.",))
    assert render_markdown(table).endswith("\n\nSeeds: 0.\n")
    assert "Seeds" not in render_markdown(table, is_alone=False)
