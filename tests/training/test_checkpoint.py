"""A member's state, to bytes and back."""

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


def train(run, drawn, first, last):
    """From epoch `first` up to, without, epoch `last`."""
    scores = iter(SCORES[first:])

    def stop(epoch, active):
        run.finished = run.finished or epoch + 1 == last

    CohortLoop([run], drawn, [run.method.teacher], lambda member: next(scores), stop).train(EPOCHS, first)


@pytest.mark.parametrize(
    "recipe", [{}, {"optimizer": Adam()}, {"schedule": Plateau(patience=0)}, {"precision": "bf16"}]
)
@pytest.mark.parametrize("cut", [1, 3])
def test_a_resumed_run_is_the_undisturbed_one(member, drawn, tiny, recipe, cut):
    """Dropout draws from the member's stream, the scores fall so that the plateau schedule moves."""
    whole, begun, resumed = (member(teacher=Frozen(tiny(99)), epochs=EPOCHS, **recipe) for _ in range(3))
    train(whole, drawn, 0, EPOCHS)
    train(begun, drawn, 0, cut)
    content = to_bytes(begun.state({begun.method.teacher}))
    torch.manual_seed(123)
    resumed.resume(from_bytes(content), {resumed.method.teacher})
    train(resumed, drawn, cut, EPOCHS)
    for key, value in whole.method.state_dict().items():
        assert torch.equal(value, resumed.method.state_dict()[key]), key
    drop = {"seconds"}
    assert [{k: v for k, v in row.items() if k not in drop} for row in whole.history] == [
        {k: v for k, v in row.items() if k not in drop} for row in resumed.history
    ]
    assert (whole.best.epoch, whole.best.score) == (resumed.best.epoch, resumed.best.score) == (1, (0.4, -2.0))
    for key, value in whole.best.weights["student"].items():
        assert torch.equal(value, resumed.best.weights["student"][key]), key
    assert resumed.seconds > begun.seconds


def test_early_stopping_goes_on_counting(member, drawn, tiny):
    whole, begun, resumed = (
        member(teacher=Frozen(tiny(99)), epochs=EPOCHS, early_stopping=EarlyStopping(patience=2)) for _ in range(3)
    )
    train(whole, drawn, 0, EPOCHS)
    train(begun, drawn, 0, 2)
    resumed.resume(from_bytes(to_bytes(begun.state(set()))), set())
    train(resumed, drawn, 2, EPOCHS)
    assert len(whole.history) == len(resumed.history) == 3
    assert whole.finished
    assert resumed.finished


def test_the_shared_teacher_is_left_out(member, tiny):
    run = member(teacher=Frozen(tiny(99)))
    assert any(key.startswith("teacher.") for key in run.state(set())["method"])
    assert not any(key.startswith("teacher.") for key in run.state({run.method.teacher})["method"])


def test_the_state_of_another_method_is_refused(member):
    one, other = member(), member()
    state = one.state({one.method.teacher})
    del state["method"]["student.head.bias"]
    with pytest.raises(TrainingError, match="of another method or network"):
        other.resume(state, {other.method.teacher})


class Trap:
    def __reduce__(self):
        return (Path.touch, (Path("trapped"),))


@pytest.mark.parametrize("content", [b"", b"garbage" * 9, pickle.dumps(Trap()), to_bytes([1])])  # type: ignore[arg-type]
def test_bytes_that_are_no_state_are_refused_and_run_no_code(content, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TrainingError, match="a checkpoint"):
        from_bytes(content)
    assert not Path("trapped").exists()


def test_code_in_torchs_own_format_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TrainingError, match="a checkpoint cannot be read"):
        from_bytes(to_bytes({"trap": Trap()}))
    assert not Path("trapped").exists()
