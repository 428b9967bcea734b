import re
from pathlib import Path

import pytest

import kdbench
from kdbench.errors import MatrixError
from kdbench.matrix import expand, load
from kdbench.matrix.shipped import shipped
from kdbench.plan import Installed

SHIPPED = sorted(file.stem for file in (Path(kdbench.__file__).parent.parent / "matrices").glob("*.toml"))


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_matrix_is_sound_whatever_its_data(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Installed, "data", lambda self, spec: spec)
    matrix = load(shipped(name))
    assert matrix.name == name
    expansion = expand(matrix, Installed())
    assert expansion.warnings == ()
    assert {cell.kind for cell in expansion.cells} == {"teacher", "scratch", "method"}


def test_the_quickstart_comes_with_kdbench() -> None:
    assert "quickstart" in SHIPPED


def test_a_name_that_does_not_come_with_it() -> None:
    with pytest.raises(MatrixError, match=r"^no matrix 'quikstart' comes with kdbench; did you mean 'quickstart'\?$"):
        shipped("quikstart")


def test_an_installed_package_has_its_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kdbench, "__file__", str(tmp_path / "kdbench" / "__init__.py"))
    with pytest.raises(MatrixError, match=re.escape("no matrix 'mine' comes with kdbench; there is none")):
        shipped("mine")
    for folder in ("kdbench/matrices", "matrices"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "mine.toml").touch()
    assert shipped("mine") == tmp_path / "kdbench" / "matrices" / "mine.toml"
