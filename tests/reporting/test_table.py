"""Units, cells and columns."""

from kdbench.reporting.table import COUNT, MILLISECONDS, MINUS, PERCENT, POINTS, Column, Table, TableCell, one_line


def test_units() -> None:
    assert PERCENT.format(0.71234) == "71.23"
    assert POINTS.format(0.005) == "+0.50"
    assert POINTS.format(-0.005) == f"{MINUS}0.50"
    assert POINTS.format(-0.000001) == "+0.00"
    assert MILLISECONDS.format(0.1234) == "0.123"


def test_cells() -> None:
    assert TableCell(mean=0.9, std=0.005, n=3, unit=POINTS).display == "+90.00 ± 0.50"
    assert TableCell(mean=0.9, n=1, unit=PERCENT).display == "90.00"
    assert TableCell(mean=0.9, std=0.01, n=2, unit=PERCENT, is_incomplete=True).display == "90.00 ± 1.00 (n=2)†"
    assert TableCell(mean=3_800, unit=COUNT).display == "3.8 k"
    assert TableCell("failed", is_missing=True).display == "failed"


def test_the_best_and_its_ties_are_bold() -> None:
    assert TableCell(is_best=True).is_bold
    assert TableCell(is_tied=True).is_bold
    assert not TableCell(is_missing=True, is_incomplete=True).is_bold


def test_a_full_title_is_one_line() -> None:
    assert Column("a →\nb", group="digits").full_title == "digits: a → b"


def test_one_line_has_no_control_characters() -> None:
    assert one_line(" a\nb\t\x1b[31mc\x07  é\u200b ") == "a b [31mc é"


def test_marks_are_numbered_as_a_reader_meets_them_and_shared() -> None:
    rows = ((TableCell("a", footnotes=("y", "x")), TableCell()), (TableCell("b", footnotes=("x",)), TableCell()))
    table = Table("t", "T", "C.", (Column("m"), Column("n", footnotes=("x",))), rows)
    assert table.footnotes == {"x": "a", "y": "b"}
    assert [table.marks(one) for one in (table.columns[1], rows[0][0], rows[1][0], rows[1][1])] == ["a", "a,b", "a", ""]


def test_there_are_marks_for_any_number_of_footnotes() -> None:
    cell = TableCell(footnotes=tuple(map(str, range(700))))
    marks = list(Table("t", "T", "C.", (Column("m"),), ((cell,),)).footnotes.values())
    assert marks[:3] == ["a", "b", "c"]
    assert marks[24:27] == ["z", "aa", "ab"]
    assert len(set(marks)) == 700
