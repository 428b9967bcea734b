"""Methods that fail: each of their runs fails with a helpful error, and the other runs of the cohort are unaffected."""

from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

METHODS = '''
import ctypes
from typing import final

import torch

from kdbench.methods.offline import Offline


@final
class Nan(Offline):
    """The loss is NaN from the middle of the run on."""

    def losses(self, student, teacher, batch):
        broken = float("nan") if batch.progress > 0.5 else 1.0
        return {"own": student.logits.square().mean() * broken}


@final
class Raises(Offline):
    def losses(self, student, teacher, batch):
        if batch.progress > 0.5:
            raise ValueError("an error in the method")
        return {"own": student.logits.square().mean()}


@final
class Greedy(Offline):
    def losses(self, student, teacher, batch):
        if batch.progress > 0.5:
            torch.empty(10**13)
        return {"own": student.logits.square().mean()}


@final
class Hangs(Offline):
    """A call of a C function that never returns and holds the interpreter lock."""

    def losses(self, student, teacher, batch):
        if batch.progress > 0.5:
            ctypes.PyDLL(None).sleep(100_000)
        return {"own": student.logits.square().mean()}
'''


def add_methods(sandbox: Any, *names: str, run: str = "") -> None:
    """Add failing methods to the matrix of a folder."""
    (sandbox.folder / "failing_methods.py").write_text(METHODS, encoding="utf-8")
    file = sandbox.folder / "faults.toml"
    tables = "".join(f'[methods.{name.lower()}]\nmethod = "failing_methods:{name}"\n' for name in names)
    text = file.read_text(encoding="utf-8").replace("seeds = [0, 1]", "seeds = [0]")
    file.write_text(text.replace("[run]\n", f"{tables}\n[run]\n{run}"), encoding="utf-8")


def check_others(sandbox: Any, reference: Any) -> None:
    """Assert that all other runs have the numbers of the reference."""
    numbers = sandbox.numbers()
    others = [run for run in numbers.rows.index if run in reference.numbers.rows.index]
    assert len(others) == 4
    numbers.only(others).check_same(reference.numbers.only(others))


def errors(sandbox: Any) -> dict[str, str]:
    """Return the errors of the failed runs by the name of their method."""
    rows = sandbox.numbers().rows
    failed = rows[rows["status"] == "failed"]
    return {method.partition(":")[2]: error for method, error in zip(failed["method"], failed["error"], strict=True)}


def test_nan_exceptions_and_out_of_memory_fail_only_their_own_run(sandbox: Any, reference: Any) -> None:
    add_methods(sandbox, "Nan", "Raises", "Greedy")
    completed = sandbox.run()
    assert completed.status == 2, completed.output
    failures = errors(sandbox)
    assert set(failures) == {"Nan", "Raises", "Greedy"}
    assert "epoch" in failures["Nan"]
    assert "ValueError: an error in the method" in failures["Raises"]
    assert "out of memory, alone on its device" in failures["Greedy"]
    assert "recipe.batch_size" in failures["Greedy"]
    assert "runs_per_device" in failures["Greedy"]
    check_others(sandbox, reference)
    assert "failing_methods.py" in Path(sandbox.store.folder(failed_run(sandbox, "Raises")) / "log.txt").read_text()


def test_a_hanging_run_fails_after_its_time_limit_and_the_others_finish(sandbox: Any, reference: Any) -> None:
    add_methods(sandbox, "Hangs", run="time_limit = 0.12\n")
    completed = sandbox.run()
    assert completed.status == 2, completed.output
    failures = errors(sandbox)
    assert set(failures) == {"Hangs"}
    assert failures["Hangs"].startswith("exceeded run.time_limit (0.12 minutes)")
    assert sandbox.store.attempts(failed_run(sandbox, "Hangs")) == 2
    check_others(sandbox, reference)
    assert not sandbox.worker_pids()


def failed_run(sandbox: Any, name: str) -> str:
    rows = sandbox.numbers().rows
    return str(rows.index[rows["method"] == f"failing_methods:{name}"][0])
