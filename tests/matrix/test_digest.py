import os
from collections.abc import Callable
from pathlib import Path

import pytest

from kdbench.matrix import Matrix, digest
from kdbench.matrix.digest import plan_digest

Make = Callable[..., Matrix]


def test_what_a_plan_depends_on(matrix: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    before = plan_digest(matrix())
    assert plan_digest(matrix()) == before
    assert plan_digest(matrix(run={"devices": "cpu"})) == before
    assert plan_digest(matrix(seeds=[1])) != before
    monkeypatch.setattr(digest, "_source", lambda: "another source")
    assert plan_digest(matrix()) != before


def test_a_change_of_the_data_is_seen(matrix: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    made = matrix(dataset={"land": {"root": "~/land"}})
    digests = [plan_digest(made)]
    image = tmp_path / "land" / "train" / "forest" / "1.png"
    image.parent.mkdir(parents=True)
    digests.append(plan_digest(made))
    image.write_bytes(b"one")
    os.utime(image, ns=(0, 0))
    digests.append(plan_digest(made))
    os.utime(image, ns=(0, 1))
    digests.append(plan_digest(made))
    assert len(set(digests)) == 4
    assert plan_digest(made) == digests[-1]


def test_the_root_may_be_one_file(matrix: Make, tmp_path: Path) -> None:
    made = matrix(dataset={"land": {"root": str(tmp_path / "land.npz")}})
    before = plan_digest(made)
    (tmp_path / "land.npz").write_bytes(b"one")
    assert plan_digest(made) != before
