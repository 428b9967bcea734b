from pathlib import Path

import pytest

from kdbench.custom_code import import_object
from kdbench.errors import KdbenchError


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(tmp_path)
    file = tmp_path / "own_code.py"
    file.write_text("class Brier:\n    class Inner: pass\n_hidden = 1\n")
    return file


def test_a_name_of_a_module(module: Path) -> None:
    assert import_object("own_code:Brier").__name__ == "Brier"  # type: ignore[attr-defined]
    assert import_object("own_code:Brier.Inner").__name__ == "Inner"  # type: ignore[attr-defined]


@pytest.mark.parametrize("path", ["own_code", ":Brier", "own_code:", ""])
def test_another_form(module: Path, path: str) -> None:
    with pytest.raises(KdbenchError, match=r"must be written 'package\.module:name'"):
        import_object(path)


def test_a_misspelled_name_has_the_nearest_one(module: Path) -> None:
    with pytest.raises(KdbenchError, match="'own_code' has no 'Brierr'; did you mean 'Brier'"):
        import_object("own_code:Brierr")


def test_a_missing_module_says_where_modules_are_searched(module: Path) -> None:
    with pytest.raises(KdbenchError, match="module 'own_cod' not found; modules are searched in the current folder"):
        import_object("own_cod:Brier")


def test_a_missing_import_inside_the_module_is_named(module: Path) -> None:
    module.write_text("import no_such_package\n")
    with pytest.raises(KdbenchError, match="module 'own_code' cannot be imported: No module named 'no_such_package'"):
        import_object("own_code:Brier")
