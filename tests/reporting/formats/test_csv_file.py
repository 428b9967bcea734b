"""CSV for other programs."""

import csv
import io

from hypothesis import given
from hypothesis import strategies as st

from kdbench.reporting.formats.csv_file import render_csv
from kdbench.reporting.table import PERCENT, Column, Table, TableCell

COLUMNS = (Column("method", is_numeric=False), Column("accuracy\n(%)"))


def _read(*rows: tuple[TableCell, ...]) -> list[list[str]]:
    return list(csv.reader(io.StringIO(render_csv(Table("t", "", "", COLUMNS, rows)), newline="")))


def test_a_table_exactly() -> None:
    assert render_csv(
        Table(
            *("t", "Title", "Caption", COLUMNS),
            (
                (TableCell("a, b"), TableCell(mean=0.5, std=0.25, n=2, unit=PERCENT, is_tied=True, is_incomplete=True)),
                (TableCell("c"), TableCell("failed", is_missing=True)),
                (TableCell("d"), TableCell(mean=0.75, n=1, unit=PERCENT, is_best=True)),
            ),
        )
    ) == (
        'method,accuracy (%),"accuracy (%), std","accuracy (%), n","accuracy (%), flags"\n'
        '"a, b",50.0,25.0,2,tied incomplete\n'
        "c,failed,,,missing\n"
        "d,75.0,,1,best\n"
    )


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30), st.floats(0, 1))
def test_text_and_numbers_are_read_back(text: str, share: float) -> None:
    found = _read((TableCell(text), TableCell(mean=share, n=1, unit=PERCENT)))[1]
    assert found[0] == text.replace("\r", " ")
    assert float(found[1]) == share * 100


def test_footnotes_are_a_column_of_texts() -> None:
    columns = (COLUMNS[0], Column("accuracy", footnotes=("two versions",)))
    number = TableCell(mean=0.5, n=1, footnotes=("more epochs",))
    rows = (
        (TableCell("a", footnotes=("more epochs", "other data")), number),
        (TableCell("b"), TableCell(mean=0.5, n=1)),
    )
    found = render_csv(Table("t", "", "", columns, rows)).splitlines()
    assert found[0].endswith(",notes")
    assert found[1] == "a,0.5,,1,,more epochs; other data; two versions"
    assert found[2] == "b,0.5,,1,,two versions"
