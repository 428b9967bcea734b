"""Tables that fit between the margins."""

from hypothesis import given
from hypothesis import strategies as st

from kdbench.reporting.formats.latex_layout import choose_layout, heading_lines
from kdbench.reporting.table import PERCENT, Column, Table, TableCell

NUMBER = TableCell(mean=0.9512, std=0.0123, n=3, unit=PERCENT)


def _table(numbers: int, name: str = "method") -> Table:
    columns = (Column(name, is_numeric=False), *(Column(f"m{n}") for n in range(numbers)))
    return Table("t", "T", "C.", columns, ((TableCell("vanilla"), *[NUMBER] * numbers),))


def test_type_shrinks_first_then_standard_deviations_then_the_table_is_split() -> None:
    found = [choose_layout(_table(numbers)) for numbers in (3, 5, 6, 7, 9)]
    assert [(one.size, one.is_compact, len(blocks)) for one, blocks in found] == [
        ("small", False, 1),
        ("footnotesize", False, 1),
        ("footnotesize", True, 1),
        ("scriptsize", True, 1),
        ("footnotesize", False, 2),
    ]


@given(st.integers(1, 40))
def test_blocks_have_every_column_once_and_the_first_in_each(numbers: int) -> None:
    _, blocks = choose_layout(_table(numbers))
    assert all(block[0] == 0 for block in blocks)
    assert [index for block in blocks for index in block[1:]] == list(range(1, numbers + 1))


def test_tables_of_text_are_not_split() -> None:
    columns = (Column("method", is_numeric=False), Column("why", is_numeric=False, width=0.9), Column("n"))
    _, blocks = choose_layout(
        Table("t", "T", "C.", columns, ((TableCell("m" * 60), TableCell("why"), TableCell("1")),))
    )
    assert blocks == ((0, 1, 2),)


def test_long_names_of_hyperparameters_are_broken_after_underscores_and_dots() -> None:
    assert heading_lines(Column("temperature_right", is_numeric=False)) == ["temperature_", "right"]
    assert heading_lines(Column("rkd_da.distance_weight", is_numeric=False)) == ["rkd_da.", "distance_", "weight"]
    assert heading_lines(Column("cnn_32_64_fc128 →\ncnn_8")) == ["cnn_32_64_fc128 →", "cnn_8"]
