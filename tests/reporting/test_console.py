"""The table in a terminal."""

import io

import pytest
from rich.console import Console

from kdbench.reporting import tables
from kdbench.reporting.console import print_table


def _printed(table, **options) -> str:
    stream = io.StringIO()
    print_table(table, Console(file=stream, width=140, **options))
    return stream.getvalue()


def test_the_accuracy_table(thesis) -> None:
    world = thesis()
    lines = _printed(tables(world.index, world.frame)[0]).splitlines()
    cells = [[part for part in line.split("  ") if part.strip()] for line in lines]
    assert lines[0].strip() == "Accuracy"
    assert [" vanilla".strip(), "93.10 ± 1.10", "+2.10 ± 0.10", "90.00 ± 0.00"] in [
        [c.strip() for c in row] for row in cells
    ]
    assert any(line.startswith("Test accuracy in %") for line in lines)


def test_hyperparameters_follow_the_notes(thesis) -> None:
    world = thesis()
    lines = [line.rstrip() for line in _printed(tables(world.index, world.frame)[0]).splitlines()]
    assert lines[lines.index("Hyperparameters:") + 1] == "  vanilla: alpha = 0.9, temperature = 4"


def test_names_are_shown_and_not_obeyed(world) -> None:
    world.add("[red]x[/red]", [0.5])
    assert "[red]x[/red]" in _printed(tables(world.index, world.frame)[0])


def test_leaders_are_bold(thesis) -> None:
    world = thesis()
    printed = _printed(tables(world.index, world.frame)[0], force_terminal=True, color_system="standard")
    assert "\x1b[1m93.23 ± 1.17\x1b[0m" in printed
    assert "\x1b[1m91.00" not in printed


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_where_columns_do_not_fit_the_table_goes_on_below(thesis, width: int) -> None:
    pairs = tuple((f"data{n}", "resnet34", "resnet18") for n in range(4))
    world = thesis(pairs)
    table, *_ = tables(world.index, world.frame)
    console = Console(file=io.StringIO(), width=width)
    print_table(table, console)
    lines = console.file.getvalue().splitlines()
    shown = console.file.getvalue().partition("Test accuracy")[0]
    assert "\N{HORIZONTAL ELLIPSIS}" not in shown
    assert max(map(len, lines)) <= width
    numbers = [cell.shown for row in table.rows for cell in row[1:]]
    assert all(shown.count(number) >= numbers.count(number) for number in numbers)
    assert (shown.count("dkd") == 1) == (width == 120)
