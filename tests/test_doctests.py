import doctest
import importlib
from pathlib import Path

import pytest

import kdbench

PACKAGE = Path(kdbench.__file__).parent
FILES = sorted(path for path in PACKAGE.rglob("*.py") if "\n    >>> " in path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_examples_in_docstrings_are_true(file: Path) -> None:
    module = importlib.import_module(".".join(("kdbench", *file.relative_to(PACKAGE).with_suffix("").parts)))
    result = doctest.testmod(module)
    assert result.attempted > 0
    assert result.failed == 0
