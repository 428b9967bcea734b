from collections.abc import Callable

import pytest

from kdbench.matrix import MatrixSpec
from kdbench.matrix import plan_digest as module
from kdbench.matrix.plan_digest import plan_digest

Make = Callable[..., MatrixSpec]
CONTENTS = {"digits": "0123456789abcdef"}


def test_what_a_plan_depends_on(matrix: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    before = plan_digest(matrix(), CONTENTS)
    assert plan_digest(matrix(), CONTENTS) == before
    assert plan_digest(matrix(run={"devices": "cpu"}), CONTENTS) == before
    assert plan_digest(matrix(seeds=[1]), CONTENTS) != before
    assert plan_digest(matrix(), {"digits": "fedcba9876543210"}) != before
    assert plan_digest(matrix(), {"digits": None}) != before
    for part in ("source_digest", "_processor", "_torch", "_gpus"):
        with monkeypatch.context() as patch:
            patch.setattr(module, part, lambda: "another one")
            assert plan_digest(matrix(), CONTENTS) != before
    assert plan_digest(matrix(), CONTENTS) == before
