"""Runs that misbehave: each fails with a reason that helps, and the others of its cohort lose nothing."""

from pathlib import Path
from typing import Any

OWN = '''
import ctypes
from typing import final

import torch

from kdbench.methods.offline import Offline


@final
class Nan(Offline):
    """A loss that is not a number from the middle of the run on."""

    def losses(self, student, teacher, batch):
        broken = float("nan") if batch.progress > 0.5 else 1.0
        return {"own": student.logits.square().mean() * broken}


@final
class Raises(Offline):
    def losses(self, student, teacher, batch):
        if batch.progress > 0.5:
            raise ValueError("a fault of the method's own")
        return {"own": student.logits.square().mean()}


@final
class Greedy(Offline):
    def losses(self, student, teacher, batch):
        if batch.progress > 0.5:
            torch.empty(10**13)
        return {"own": student.logits.square().mean()}


@final
class Hangs(Offline):
    """A call of C that never returns and holds the interpreter."""

    def losses(self, student, teacher, batch):
        if batch.progress > 0.5:
            ctypes.PyDLL(None).sleep(100_000)
        return {"own": student.logits.square().mean()}
'''


def with_culprits(bench: Any, *names: str, run: str = "") -> None:
    """The matrix of the folder with methods that misbehave beside the others."""
    (bench.folder / "culprits_of_a_test.py").write_text(OWN, encoding="utf-8")
    file = bench.folder / "faults.toml"
    tables = "".join(f'[methods.{name.lower()}]\nmethod = "culprits_of_a_test:{name}"\n' for name in names)
    text = file.read_text(encoding="utf-8").replace("seeds = [0, 1]", "seeds = [0]")
    file.write_text(text.replace("[run]\n", f"{tables}\n[run]\n{run}"), encoding="utf-8")


def check_others(bench: Any, undisturbed: Any) -> None:
    """Whether all runs but the culprits have the numbers that they have without them."""
    numbers = bench.numbers()
    others = [run for run in numbers.rows.index if run in undisturbed.numbers.rows.index]
    assert len(others) == 4
    numbers.only(others).check_same(undisturbed.numbers.only(others))


def errors(bench: Any) -> dict[str, str]:
    """What the failed runs say, by the label of their method; one text a label."""
    rows = bench.numbers().rows
    failed = rows[rows["status"] == "failed"]
    return {method.partition(":")[2]: error for method, error in zip(failed["method"], failed["error"], strict=True)}


def test_runs_that_break_or_do_not_fit_fail_alone(bench: Any, undisturbed: Any) -> None:
    with_culprits(bench, "Nan", "Raises", "Greedy")
    ran = bench.run()
    assert ran.status == 2, ran.said
    said = errors(bench)
    assert set(said) == {"Nan", "Raises", "Greedy"}
    assert "epoch" in said["Nan"]
    assert "ValueError: a fault of the method's own" in said["Raises"]
    assert "out of memory, alone on its device" in said["Greedy"]
    assert "recipe.batch_size" in said["Greedy"]
    assert "runs_per_device" in said["Greedy"]
    check_others(bench, undisturbed)
    assert "culprits_of_a_test.py" in Path(bench.store.folder(failed_run(bench, "Raises")) / "log.txt").read_text()


def test_a_run_that_hangs_is_ended_and_the_innocent_go_on(bench: Any, undisturbed: Any) -> None:
    with_culprits(bench, "Hangs", run="time_limit = 0.12\n")
    ran = bench.run()
    assert ran.status == 2, ran.said
    said = errors(bench)
    assert set(said) == {"Hangs"}
    assert said["Hangs"].startswith("ended after run.time_limit (0.12 minutes)")
    assert bench.store.attempts(failed_run(bench, "Hangs")) == 2
    check_others(bench, undisturbed)
    assert not bench.workers()


def failed_run(bench: Any, name: str) -> str:
    rows = bench.numbers().rows
    return str(rows.index[rows["method"] == f"culprits_of_a_test:{name}"][0])
