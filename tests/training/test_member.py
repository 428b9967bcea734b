"""One run: its steps, its accounting, its end."""

import gc
import math
import weakref
from dataclasses import replace

import pytest
import torch

from kdbench.errors import MethodError, NotFiniteError, TrainingError
from kdbench.matrix.recipe import Constant, EarlyStopping, Plateau, Recipe, Sgd
from kdbench.training.member import Member
from kdbench.training.method import OptimizerSpec, Step

GOOD = {"val_accuracy": 0.5, "val_nll": 1.0}


def take_epoch(member, drawn, epoch=0, scores=None):
    """Train an epoch as the loop does."""
    epochs = member.recipe.epochs
    member.start_epoch()
    for batch in drawn.epoch(epoch, epochs):
        member.take(batch)
    if member.error is None:
        member.end_epoch(epoch, (epoch + 1) / epochs, scores or {})


def test_an_epochs_row_holds_the_mean_of_every_term(member, drawn):
    sizes = iter([1.0, 2.0, 6.0, 7.0])
    run = member(spoil=lambda batch, loss: loss * 0 + next(sizes), optimizer=Sgd(lr=0.1))
    take_epoch(run, drawn, scores={"val_accuracy": 0.25, "val_nll": 2.0})
    (row,) = run.history
    assert set(row) == {"epoch", "lr", "seconds", "loss.ce", "loss.hint", "loss.scale.size", *GOOD}
    assert row["loss.ce"] == pytest.approx(4.0)
    assert (row["epoch"], row["val_accuracy"], row["val_nll"]) == (0, 0.25, 2.0)
    assert row["seconds"] == run.seconds > 0


def test_the_means_of_an_epoch_begin_anew(member, drawn):
    sizes = iter([1.0] * 4 + [5.0] * 4)
    run = member(spoil=lambda batch, loss: loss * 0 + next(sizes))
    take_epoch(run, drawn, 0)
    take_epoch(run, drawn, 1)
    assert [row["loss.ce"] for row in run.history] == [1.0, 5.0]


def test_a_rows_rate_is_the_schedules_at_the_end_of_the_epoch(member, drawn):
    run = member(optimizer=Sgd(lr=0.1))
    take_epoch(run, drawn)
    assert run.history[0]["lr"] == pytest.approx(0.1 * (1 + math.cos(math.pi / 3)) / 2)


def test_every_player_steps(member, batch):
    run = member()
    before = {name: [p.clone() for p in player.parameters()] for name, player in run.method.players().items()}
    run.start_epoch()
    run.take(batch)
    for name, player in run.method.players().items():
        pairs = zip(before[name], player.parameters(), strict=True)
        assert not all(torch.equal(a, b) for a, b in pairs), name


def test_the_student_trains_again_after_evaluation(member, drawn):
    run = member()
    for epoch in range(2):
        take_epoch(run, drawn, epoch, GOOD)
        run.method.eval()
    assert run.method.modes == [True] * 8


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_ends_the_run_and_is_named(member, drawn, value):
    run = member(spoil=lambda batch, loss: loss * value if batch.progress > 0.4 else loss)
    take_epoch(run, drawn, 0, GOOD)
    assert run.training
    take_epoch(run, drawn, 1, GOOD)
    assert not run.training
    assert isinstance(run.error, NotFiniteError)
    assert str(run.error).startswith("epoch 1: loss.ce, loss.hint became NaN or infinite; lower the learning rate")


def test_a_score_that_is_not_finite_ends_the_run(member, drawn):
    run = member()
    take_epoch(run, drawn, 0, {"val_accuracy": 0.5, "val_nll": math.nan})
    assert isinstance(run.error, NotFiniteError)
    assert str(run.error).startswith("epoch 0: val_nll became NaN or infinite")
    assert run.best.epoch == -1


def test_an_exception_of_the_method_ends_the_run(member, batch):
    def raising(batch, loss):
        raise ValueError("no such thing")

    run = member(spoil=raising)
    run.start_epoch()
    run.take(batch)
    assert not run.training
    assert repr(run.error) == "ValueError('no such thing')"


def test_a_failed_run_lets_go_of_its_generator_and_its_graphs(member, batch, monkeypatch):
    run, closed, held = member(), [], []

    def steps(batch):
        try:
            logits = run.method.student(batch.images).logits
            held.append(weakref.ref(logits))
            yield Step({"ce": logits.detach().sum()})
        finally:
            closed.append(True)

    monkeypatch.setattr(run.method, "steps", steps)
    run.take(batch)
    assert isinstance(run.error, TrainingError)
    assert closed == [True]
    gc.collect()
    assert held[0]() is None


def test_a_method_cannot_switch_gradients_off_for_others(member, batch, monkeypatch):
    run = member()

    def steps(batch):
        torch.set_grad_enabled(False)
        raise ValueError("broken")
        yield

    monkeypatch.setattr(run.method, "steps", steps)
    with torch.enable_grad():  # so that a failure of this test is not one of all that follow
        run.take(batch)
        assert torch.is_grad_enabled()
    assert str(run.error) == "broken"


def test_an_optimizer_for_a_player_that_is_not_there_is_refused(member, monkeypatch):
    method = member().method
    monkeypatch.setattr(method, "optimizers", lambda: {"scael": OptimizerSpec()})
    with pytest.raises(
        MethodError, match=r"^optimizers\(\) names the player 'scael', whom .*; did you mean 'scale'\?$"
    ):
        Member("run", method, Recipe(), seed=0)


def test_players_that_share_a_parameter_are_refused(member, monkeypatch):
    method = member().method
    monkeypatch.setattr(method, "players", lambda: {"student": method.student, "head": method.student.head})
    with pytest.raises(MethodError, match=r"^the players \['head', 'student'\] share a parameter"):
        Member("run", method, Recipe(), seed=0)


def test_a_step_of_an_unknown_player_is_an_error(member, batch, monkeypatch):
    run = member()
    monkeypatch.setattr(run.method, "steps", lambda batch: iter([Step({"ce": torch.ones(())}, "peer")]))
    run.take(batch)
    assert isinstance(run.error, TrainingError)
    assert str(run.error) == "a step names the player 'peer'; the method has ['scale', 'student']"


def test_the_generator_runs_to_its_end(member, batch, monkeypatch):
    run, after = member(), []

    def steps(batch):
        yield Step({"size": run.method.scale.weight.sum()}, "scale")
        after.append(run.method.scale.weight.item())

    before = run.method.scale.weight.item()
    monkeypatch.setattr(run.method, "steps", steps)
    run.take(batch)
    assert run.error is None
    assert after == [run.method.scale.weight.item()]
    assert after != [before]


@pytest.mark.parametrize(("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_every_step_is_made_under_autocast_entered_anew(member, batch, monkeypatch, precision, dtype):
    run, seen = member(precision=precision), []

    def steps(batch):
        for _ in range(2):
            logits = run.method.student(batch.images).logits
            seen.append((logits.dtype, logits.detach().float()))
            yield Step({"ce": logits.float().square().sum()})

    monkeypatch.setattr(run.method, "steps", steps)
    run.method.eval()
    run.take(batch)
    assert [kind for kind, _ in seen] == [dtype, dtype]
    assert not torch.equal(seen[0][1], seen[1][1]), "the second step used weights from before the first"
    assert not torch.is_autocast_enabled("cpu")


def test_the_outer_random_stream_is_left_alone(member, batch):
    run = member()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    run.take(batch)
    assert torch.equal(torch.rand(3), expected)


def test_a_runs_random_stream_goes_on_from_batch_to_batch(member, batch, monkeypatch):
    run, drawn_numbers = member(), []

    def steps(batch):
        drawn_numbers.append(torch.rand(1).item())
        yield from ()

    monkeypatch.setattr(run.method, "steps", steps)
    for progress in (0.0, 0.1, 0.2):
        torch.manual_seed(0)
        run.take(replace(batch, progress=progress))
    assert len(set(drawn_numbers)) == 3


def test_graduates_are_copies(member, batch):
    run = member()
    kept = run.deployed()["student"]["head.weight"]
    before = kept.clone()
    run.take(batch)
    assert torch.equal(kept, before)
    assert not torch.equal(run.method.student.head.weight, before)


def test_the_best_epoch_has_the_highest_accuracy_then_the_lowest_loss(member, drawn):
    run, weights = member(epochs=5), []
    for epoch, (accuracy, loss) in enumerate([(0.4, 1.0), (0.6, 2.0), (0.6, 1.5), (0.6, 1.5), (0.5, 0.1)]):
        take_epoch(run, drawn, epoch, {"val_accuracy": accuracy, "val_nll": loss})
        weights.append(run.deployed()["student"]["head.weight"])
    assert run.best.epoch == 2
    assert run.best.score == (0.6, -1.5)
    assert torch.equal(run.best.weights["student"]["head.weight"], weights[2])
    assert not torch.equal(weights[2], weights[3])


def test_without_validation_there_is_no_best_epoch(member, drawn):
    run = member(early_stopping=EarlyStopping(patience=1))
    take_epoch(run, drawn, 0, {"test_accuracy": 0.5})
    assert run.training
    assert run.best.weights == {}


def test_early_stopping_counts_epochs_without_a_lower_loss(member, drawn):
    run, stopped = member(epochs=9, early_stopping=EarlyStopping(patience=2)), []
    for epoch, loss in enumerate([1.0, 1.1, 0.9, 1.2, 1.0]):
        take_epoch(run, drawn, epoch, {"val_accuracy": epoch / 10, "val_nll": loss})
        stopped.append(run.finished)
    assert stopped == [False, False, False, False, True]
    assert run.error is None
    assert not run.training


def test_plateau_reads_the_validation_loss_once_an_epoch_for_all_players(member, drawn):
    run = member(schedule=Plateau(factor=0.5, patience=0), optimizer=Sgd(lr=0.1))
    for epoch, loss in enumerate([1.0, 1.0]):
        take_epoch(run, drawn, epoch, {"val_accuracy": 0.5, "val_nll": loss})
    assert {name: o.lr(0.5) for name, o in run.optimizers.items()} == pytest.approx({"student": 0.05, "scale": 0.05})


def test_the_seed_alone_decides(member, drawn):
    first, second, other = member(schedule=Constant()), member(schedule=Constant()), member(seed=8, schedule=Constant())
    for run in (first, second, other):
        torch.manual_seed(id(run) % 1000)
        take_epoch(run, drawn)
    weights = [run.deployed()["student"]["conv.weight"] for run in (first, second, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
