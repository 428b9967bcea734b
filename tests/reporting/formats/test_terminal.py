"""The table in a terminal."""

import io
import re

import pytest
from rich.console import Console

from kdbench.reporting import build_tables, render
from kdbench.reporting.formats.terminal import print_table
from kdbench.reporting.table import Column, Table, TableCell


def _printed(table, **options) -> str:
    stream = io.StringIO()
    print_table(table, Console(file=stream, width=140, **options))
    return stream.getvalue()


def test_the_accuracy_table(thesis) -> None:
    builder = thesis()
    lines = _printed(build_tables(builder.index, builder.frame)[0]).splitlines()
    cells = [[part for part in line.split("  ") if part.strip()] for line in lines]
    assert lines[0].strip() == "Accuracy"
    assert [" vanilla".strip(), "93.10 ± 1.10", "+2.10 [1.85, 2.35]", "2"] in [
        [c.strip() for c in row] for row in cells
    ]
    assert any(line.startswith("Test accuracy in %") for line in lines)


def test_hyperparameters_follow_the_notes(thesis) -> None:
    builder = thesis()
    lines = [line.rstrip() for line in _printed(build_tables(builder.index, builder.frame)[0]).splitlines()]
    assert lines[lines.index("Hyperparameters:") + 1] == "  vanilla: alpha = 0.9, temperature = 4"


def test_markup_in_names_is_printed_as_it_is(builder) -> None:
    builder.add("[red]x[/red]", [0.5])
    assert "[red]x[/red]" in _printed(build_tables(builder.index, builder.frame)[0])


def test_the_best_are_bold(thesis) -> None:
    builder = thesis()
    printed = _printed(build_tables(builder.index, builder.frame)[0], force_terminal=True, color_system="standard")
    assert re.search(r"\x1b\[1m *93\.23 ± 1\.17\x1b\[0m", printed)
    assert not re.search(r"\x1b\[1m *91\.00", printed)


@pytest.mark.parametrize("width", [40, 60, 80, 160])
def test_a_table_that_is_too_wide_is_split(thesis, width: int) -> None:
    pairs = tuple((f"data{n}", "resnet34", "resnet18") for n in range(4))
    builder = thesis(pairs)
    table, *_ = build_tables(builder.index, builder.frame)
    console = Console(file=io.StringIO(), width=width)
    print_table(table, console)
    lines = console.file.getvalue().splitlines()
    shown = console.file.getvalue().partition("Test accuracy")[0]
    assert "\N{HORIZONTAL ELLIPSIS}" not in shown
    assert max(map(len, lines)) <= width
    numbers = [cell.display for row in table.rows for cell in row[1:]]
    assert all(shown.count(number) >= numbers.count(number) for number in numbers)
    assert (shown.count("dkd") == 1) == (width == 160)


def test_footnotes_have_superscript_letters(builder) -> None:
    cell = TableCell("vanilla", footnotes=("60 epochs", "own teacher"))
    text = render(Table("t", "T", "C.", (Column("method", is_numeric=False, footnotes=("torch",)),), ((cell,),)))
    lines = [line.strip() for line in text.splitlines()]
    assert "methodᵃ" in lines
    assert "vanillaᵇ,ᶜ" in lines
    assert lines[-3:] == ["ᵃ torch", "ᵇ 60 epochs", "ᶜ own teacher"]
