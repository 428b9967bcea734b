"""Numbers as a reader sees them."""

from kdbench.reporting.table import COUNT, MILLISECONDS, MINUS, PERCENT, POINTS, Column, TableCell, one_line


def test_units() -> None:
    assert PERCENT.text(0.71234) == "71.23"
    assert POINTS.text(0.005) == "+0.50"
    assert POINTS.text(-0.005) == f"{MINUS}0.50"
    assert POINTS.text(-0.000001) == "+0.00"
    assert MILLISECONDS.text(0.1234) == "0.123"


def test_cells() -> None:
    assert TableCell(mean=0.9, spread=0.005, n=3, unit=POINTS).shown == "+90.00 ± 0.50"
    assert TableCell(mean=0.9, n=1, unit=PERCENT).shown == "90.00"
    assert TableCell(mean=0.9, spread=0.01, n=2, unit=PERCENT, incomplete=True).shown == "90.00 ± 1.00 (n=2)†"
    assert TableCell(mean=3_800, unit=COUNT).shown == "3.8 k"
    assert TableCell("failed", missing=True).shown == "failed"


def test_the_best_and_what_is_tied_with_it_are_bold() -> None:
    assert TableCell(best=True).bold
    assert TableCell(tied=True).bold
    assert not TableCell(missing=True, incomplete=True).bold


def test_a_full_title_is_one_line() -> None:
    assert Column("a →\nb", group="digits").full_title == "digits: a → b"


def test_one_line_holds_nothing_that_a_terminal_obeys() -> None:
    assert one_line(" a\nb\t\x1b[31mc\x07  é\u200b ") == "a b [31mc é"
