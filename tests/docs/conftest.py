"""The files of the documentation, the code blocks in them, and a folder to try them in."""

import re
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def code_block() -> Callable[..., str]:
    """Returns the code block of a page that has a title, or the first block of a language."""

    def find(page: str, *, title: str | None = None, language: str = r"\w+") -> str:
        text = (ROOT / page).read_text(encoding="utf-8")
        label = rf' title="{re.escape(title)}"' if title else ""
        found = re.search(rf"^( *)```{language}{label}\n(.*?)^\1```", text, re.DOTALL | re.MULTILINE)
        assert found, f"{page} has no code block {title or language}"
        return textwrap.dedent(found[2])

    return find


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty current folder on the import path; modules imported from it are removed afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", None)):
            del sys.modules[name]
