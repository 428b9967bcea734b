"""Every test that docs/reliability.md or scripts/stress names exists."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TEST_ID = re.compile(r"tests/[\w/]+\.py::\w+")


def exists(test: str) -> bool:
    file, _, name = test.partition("::")
    return re.search(rf"^def {name}\(", (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE) is not None


@pytest.mark.parametrize("test", TEST_ID.findall((ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")))
def test_every_test_named_in_the_docs_exists(test: str) -> None:
    assert exists(test)


def test_every_promise_names_a_test() -> None:
    rows = re.findall(
        r"^\| (?!promise|---)(.*) \|$", (ROOT / "docs" / "reliability.md").read_text("utf-8"), re.MULTILINE
    )
    assert len(rows) > 15
    assert all(TEST_ID.search(row) for row in rows)


def test_every_test_named_in_the_stress_script_exists() -> None:
    faults = re.findall(r"test_\w+\.py::\w+", (ROOT / "scripts" / "stress").read_text(encoding="utf-8"))
    assert len(faults) > 10
    assert all(exists(f"tests/faults/{fault}") for fault in faults)
