import re
from pathlib import Path

import pytest

import kdbench
from kdbench.errors import MatrixError
from kdbench.matrix import expand, load
from kdbench.matrix.shipped import find_shipped
from kdbench.plan import LocalRegistry, make_plan

SHIPPED = sorted(file.stem for file in (Path(kdbench.__file__).parent.parent / "matrices").glob("*.toml"))


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_matrix_can_be_expanded(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LocalRegistry, "dataset", lambda self, spec: spec)
    matrix = load(find_shipped(name))
    assert matrix.name == name
    expansion = expand(matrix, LocalRegistry())
    assert expansion.warnings == ()
    assert {cell.kind for cell in expansion.cells} == {"teacher", "scratch", "method"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "teachers", "scratch", "searched", "distilled"),
    [
        ("quickstart", 6, 5, 2, 5 * 5),
        ("fashion_mnist", 1, 3, 0, 12),
        ("mnist", 1, 3, 0, 12),
        ("cifar10_cnn", 1, 3, 0, 12),
        ("uc_merced", 1, 3, 0, 2 * 11 * 3),
        ("eurosat", 1, 3, 0, (2 * 3 + 3) * 3),
        ("thesis", 7, 7 * 3, 567, 56 * 3),
        ("thesis_equation", 7, 7 * 3, 567, 56 * 3),
        ("survey", 1, 3, 0, (4 + 2) * 3),
        ("cifar100", 6, 9 * 3, 0, 13 * 4 * 3),
    ],
)
def test_the_number_of_runs_of_a_shipped_matrix(
    name: str,
    teachers: int,
    scratch: int,
    searched: int,
    distilled: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Planned without data; the thesis has 8 methods and 81 configurations on each of 7 pairs."""
    monkeypatch.chdir(tmp_path)
    plan = make_plan(load(find_shipped(name)), provisional=True).choose_first()
    kinds = {
        cell: "searched" if cell.phase == "search" and cell.kind != "teacher" else cell.kind for cell in plan.cells
    }
    runs: dict[str, set[str]] = {kind: set() for kind in ("teacher", "scratch", "searched", "method")}
    for cell, kind in kinds.items():
        runs[kind] |= {run.id for run in cell.runs.values()}
    assert {kind: len(ids) for kind, ids in runs.items()} == {
        "teacher": teachers,
        "scratch": scratch,
        "searched": searched,
        "method": distilled,
    }
    assert plan.incompatible == ()
    assert len(plan.runs) == len(set().union(*runs.values()))


def test_every_shipped_matrix_is_counted_above() -> None:
    (counted,) = [mark for mark in test_the_number_of_runs_of_a_shipped_matrix.pytestmark if mark.name == "parametrize"]
    assert {case[0] for case in counted.args[1]} == set(SHIPPED)


@pytest.mark.slow
def test_the_two_thesis_matrices_share_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They share teachers, baselines and the configurations with alpha 0.5: a third of 81, and two of nine."""
    monkeypatch.chdir(tmp_path)
    one, other = (
        {r.id for r in make_plan(load(find_shipped(n)), provisional=True).runs} for n in ("thesis", "thesis_equation")
    )
    assert len(one & other) == 7 + 7 * 3 + 567 // 3


def test_the_quickstart_is_shipped() -> None:
    assert "quickstart" in SHIPPED


def test_a_matrix_that_is_not_shipped() -> None:
    with pytest.raises(MatrixError, match=r"^kdbench has no matrix 'quikstart'; did you mean 'quickstart'\?$"):
        find_shipped("quikstart")


def test_an_installed_package_has_its_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kdbench, "__file__", str(tmp_path / "kdbench" / "__init__.py"))
    with pytest.raises(MatrixError, match=re.escape("kdbench has no matrix 'mine'; valid: none")):
        find_shipped("mine")
    for folder in ("kdbench/matrices", "matrices"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "mine.toml").touch()
    assert find_shipped("mine") == tmp_path / "kdbench" / "matrices" / "mine.toml"
