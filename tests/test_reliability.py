"""The promises in docs/reliability.md, and the faults of scripts/stress, name tests that are there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NAMED = re.compile(r"tests/[\w/]+\.py::\w+")


def is_there(test: str) -> bool:
    file, _, name = test.partition("::")
    return re.search(rf"^def {name}\(", (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE) is not None


@pytest.mark.parametrize("test", NAMED.findall((ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")))
def test_every_promise_has_its_test(test: str) -> None:
    assert is_there(test)


def test_every_row_of_promises_names_a_test() -> None:
    rows = re.findall(
        r"^\| (?!promise|---)(.*) \|$", (ROOT / "docs" / "reliability.md").read_text("utf-8"), re.MULTILINE
    )
    assert len(rows) > 15
    assert all(NAMED.search(row) for row in rows)


def test_every_fault_of_the_stress_script_is_a_test() -> None:
    faults = re.findall(r"test_\w+\.py::\w+", (ROOT / "scripts" / "stress").read_text(encoding="utf-8"))
    assert len(faults) > 10
    assert all(is_there(f"tests/faults/{fault}") for fault in faults)
