"""Own code is identified by all own modules that it imports."""

import importlib
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from kdbench.errors import KdbenchError
from kdbench.source_code import source_hash

Write = Callable[[Mapping[str, str]], Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """`write(files)`: write modules, by path, into a folder on `sys.path`; what they import is dropped at the end."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def make(files: Mapping[str, str]) -> Path:
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        importlib.invalidate_caches()
        return tmp_path

    yield make
    for name in set(sys.modules) - before:
        del sys.modules[name]


def depends_on(folder: Path, module: str, file: str) -> bool:
    """Import a module, change a file, and return whether the hash of the module changes."""
    importlib.import_module(module)
    before, path = source_hash(module), folder / file
    text = path.read_text()
    path.write_text(text + "# changed\n")
    after = source_hash(module)
    path.write_text(text)
    assert source_hash(module) == before
    return after != before


PACKAGE = {
    "own_a/__init__.py": "",
    "own_a/other.py": "",
    "own_a/nets/__init__.py": "from .blocks import block\n",
    "own_a/nets/blocks.py": "from ..layers import conv\n\n\ndef block(): ...\n",
    "own_a/layers/__init__.py": "",
    "own_a/layers/conv.py": "def late():\n    import own_a.deep.end as end\n",
    "own_a/deep/__init__.py": "",
    "own_a/deep/end.py": "from own_a import nets\n",
}


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("own_a/__init__.py", True),
        ("own_a/nets/__init__.py", True),
        ("own_a/nets/blocks.py", True),
        ("own_a/layers/__init__.py", True),
        ("own_a/layers/conv.py", True),
        ("own_a/deep/__init__.py", True),
        ("own_a/deep/end.py", True),
        ("own_a/other.py", False),
    ],
)
def test_a_package_with_relative_late_and_circular_imports(write: Write, file: str, expected: bool) -> None:
    assert depends_on(write(PACKAGE), "own_a.nets", file) is expected


SIBLINGS = {
    "own_b.py": "import own_c\nfrom own_d import sub\nimport json\n",
    "own_c.py": "import own_e\n",
    "own_d/__init__.py": "",
    "own_d/sub.py": "",
    "own_d/unused.py": "",
    "own_e.py": "",
    "own_f.py": "import own_b\n",
}


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("own_c.py", True),
        ("own_d/__init__.py", True),
        ("own_d/sub.py", True),
        ("own_d/unused.py", False),
        ("own_e.py", True),
        ("own_f.py", False),
    ],
)
def test_a_file_with_siblings(write: Write, file: str, expected: bool) -> None:
    assert depends_on(write(SIBLINGS), "own_b", file) is expected


def test_a_namespace_package_in_two_folders(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path / "second")
    folder = write({"own_g/one.py": "from own_g import two\n", "second/own_g/two.py": "", "second/own_g/three.py": ""})
    assert depends_on(folder, "own_g.one", "second/own_g/two.py")
    assert not depends_on(folder, "own_g.one", "second/own_g/three.py")


def test_a_star_stands_for_all_modules_of_a_package(write: Write) -> None:
    folder = write({"own_h.py": "from own_i import *\n", "own_i/__init__.py": "__all__ = ['a']\n", "own_i/a.py": ""})
    assert depends_on(folder, "own_h", "own_i/a.py")


def test_an_installed_package_is_hashed_without_its_neighbors(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path / "site-packages")
    names = {"own_j/__init__.py": "import own_k\nfrom own_j import a\n", "own_j/a.py": "", "own_k.py": ""}
    folder = write({f"site-packages/{name}": text for name, text in names.items()})
    assert depends_on(folder, "own_j", "site-packages/own_j/a.py")
    assert not depends_on(folder, "own_j", "site-packages/own_k.py")


def test_kdbench_is_not_part_of_the_users_code_even_in_its_folder(write: Write) -> None:
    folder = write({"own_l.py": "import kdbench.errors\n", "kdbench/__init__.py": "", "kdbench/errors.py": ""})
    assert not depends_on(folder, "own_l", "kdbench/errors.py")


def test_the_hash_does_not_depend_on_the_folder(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(
        {"own_m.py": "import own_n\n", "own_n.py": "", "elsewhere/own_m.py": "import own_n\n", "elsewhere/own_n.py": ""}
    )
    importlib.import_module("own_m")
    first = source_hash("own_m")
    del sys.modules["own_m"], sys.modules["own_n"]
    monkeypatch.syspath_prepend(tmp_path / "elsewhere")
    importlib.import_module("own_m")
    assert (Path(str(sys.modules["own_m"].__file__)).parent.name, source_hash("own_m")) == ("elsewhere", first)


def test_a_helper_that_cannot_be_parsed_counts_by_its_content(write: Write) -> None:
    folder = write({"own_o.py": "try:\n    import own_p\nexcept SyntaxError:\n    pass\n", "own_p.py": "print 1\n"})
    assert depends_on(folder, "own_o", "own_p.py")


def test_a_module_without_a_file_has_no_hash() -> None:
    with pytest.raises(KdbenchError, match="module 'sys' has no Python file"):
        source_hash("sys")
