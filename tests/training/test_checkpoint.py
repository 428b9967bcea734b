"""Serializing the state of a member."""

import pickle
from pathlib import Path

import pytest
import torch

from kdbench.errors import TrainingError
from kdbench.matrix.recipe import Adam, EarlyStopping, Plateau
from kdbench.training.checkpoint import from_bytes, to_bytes
from kdbench.training.loop import CohortLoop
from kdbench.training.network import Frozen

EPOCHS = 5
SCORES = [{"val_accuracy": accuracy, "val_nll": loss} for accuracy, loss in ((0.2, 1), (0.4, 2), *[(0.3, 3)] * 3)]


def train(run, batches, first, last):
    """Train from epoch `first` up to, but not including, epoch `last`."""
    scores = iter(SCORES[first:])

    def stop(epoch, active):
        run.is_finished = run.is_finished or epoch + 1 == last

    CohortLoop([run], batches, [run.method.teacher], lambda member: next(scores), stop).train(EPOCHS, first)


@pytest.mark.parametrize(
    "recipe", [{}, {"optimizer": Adam()}, {"schedule": Plateau(patience=0)}, {"precision": "bf16"}]
)
@pytest.mark.parametrize("cut", [1, 3])
def test_a_resumed_run_equals_an_uninterrupted_one(member, batches, tiny, recipe, cut):
    """With dropout, and scores that get worse so that the plateau schedule lowers the learning rate."""
    complete, interrupted, resumed = (member(teacher=Frozen(tiny(99)), epochs=EPOCHS, **recipe) for _ in range(3))
    train(complete, batches, 0, EPOCHS)
    train(interrupted, batches, 0, cut)
    content = to_bytes(interrupted.state_dict({interrupted.method.teacher}))
    torch.manual_seed(123)
    resumed.load_state_dict(from_bytes(content), {resumed.method.teacher})
    train(resumed, batches, cut, EPOCHS)
    for key, value in complete.method.state_dict().items():
        assert torch.equal(value, resumed.method.state_dict()[key]), key
    drop = {"seconds"}
    assert [{k: v for k, v in row.items() if k not in drop} for row in complete.history] == [
        {k: v for k, v in row.items() if k not in drop} for row in resumed.history
    ]
    assert (complete.best.epoch, complete.best.score) == (resumed.best.epoch, resumed.best.score) == (2, 0.4)
    for key, value in complete.best.weights["student"].items():
        assert torch.equal(value, resumed.best.weights["student"][key]), key
    assert resumed.seconds > interrupted.seconds


@pytest.mark.parametrize(("monitor", "epochs"), [("accuracy", 4), ("loss", 3)])
def test_early_stopping_continues_to_count_after_a_resume(member, batches, tiny, monitor, epochs):
    recipe = {"epochs": EPOCHS, "early_stopping": EarlyStopping(patience=2), "monitor": monitor}
    complete, interrupted, resumed = (member(teacher=Frozen(tiny(99)), **recipe) for _ in range(3))
    train(complete, batches, 0, EPOCHS)
    train(interrupted, batches, 0, 2)
    resumed.load_state_dict(from_bytes(to_bytes(interrupted.state_dict(set()))), set())
    train(resumed, batches, 2, EPOCHS)
    assert len(complete.history) == len(resumed.history) == epochs
    assert complete.is_finished
    assert resumed.is_finished


def test_the_shared_teacher_is_not_in_the_state(member, tiny):
    run = member(teacher=Frozen(tiny(99)))
    assert any(key.startswith("teacher.") for key in run.state_dict(set())["method"])
    assert not any(key.startswith("teacher.") for key in run.state_dict({run.method.teacher})["method"])


def test_the_state_of_another_method_is_refused(member):
    one, other = member(), member()
    state = one.state_dict({one.method.teacher})
    del state["method"]["student.head.bias"]
    with pytest.raises(TrainingError, match="belongs to another method or network"):
        other.load_state_dict(state, {other.method.teacher})


class RunsCode:
    def __reduce__(self):
        return (Path.touch, (Path("created"),))


@pytest.mark.parametrize("content", [b"", b"garbage" * 9, pickle.dumps(RunsCode()), to_bytes([1])])  # type: ignore[arg-type]
def test_other_bytes_are_refused_and_run_no_code(content, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TrainingError, match="a checkpoint"):
        from_bytes(content)
    assert not Path("created").exists()


def test_code_in_torchs_format_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TrainingError, match="a checkpoint cannot be read"):
        from_bytes(to_bytes({"code": RunsCode()}))
    assert not Path("created").exists()
