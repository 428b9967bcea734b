"""One run: its steps, its history, and how it ends."""

import gc
import math
import weakref
from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kdbench.errors import MethodError, NotFiniteError, TrainingError
from kdbench.matrix.recipe import Constant, EarlyStopping, Plateau, Recipe, Sgd
from kdbench.training.checkpoint import from_bytes, to_bytes
from kdbench.training.member import Member
from kdbench.training.method import OptimizerSpec, Step

GOOD = {"val_accuracy": 0.5, "val_nll": 1.0}


def train_epoch(member, batches, epoch=0, scores=None):
    """Train one epoch, counted from 0, as the loop does."""
    epochs = member.recipe.epochs
    member.start_epoch()
    for batch in batches.epoch(epoch, epochs):
        member.train_batch(batch)
    if member.error is None:
        member.end_epoch(epoch, scores or {})


def test_a_row_of_the_history_has_the_mean_of_every_term(member, batches):
    sizes = iter([1.0, 2.0, 6.0, 7.0])
    run = member(change_loss=lambda batch, loss: loss * 0 + next(sizes), optimizer=Sgd(lr=0.1))
    train_epoch(run, batches, scores={"val_accuracy": 0.25, "val_nll": 2.0})
    (row,) = run.history
    assert set(row) == {"epoch", "lr", "seconds", "loss.ce", "loss.hint", "loss.scale.size", *GOOD}
    assert row["loss.ce"] == pytest.approx(4.0)
    assert (row["epoch"], row["val_accuracy"], row["val_nll"]) == (1, 0.25, 2.0)
    assert row["seconds"] == run.seconds > 0


def test_a_method_that_is_not_calibrated_has_no_probability_metrics_in_its_history(member, batches, monkeypatch):
    run = member(early_stopping=EarlyStopping(patience=9))
    monkeypatch.setattr(type(run.method), "calibrated", False)
    scores = {f"{part}_{name}": 0.5 for part in ("val", "test") for name in ("accuracy", "top5", "nll", "ece")}
    train_epoch(run, batches, scores=scores)
    (row,) = run.history
    assert {key for key in row if key in scores} == {"val_accuracy", "val_top5", "test_accuracy", "test_top5"}
    assert (run.best.epoch, run.best.score) == (1, 0.5)
    train_epoch(run, batches, 1, {**scores, "val_nll": math.inf})
    assert isinstance(run.error, NotFiniteError)


def test_each_epoch_has_its_own_means(member, batches):
    sizes = iter([1.0] * 4 + [5.0] * 4)
    run = member(change_loss=lambda batch, loss: loss * 0 + next(sizes))
    train_epoch(run, batches, 0)
    train_epoch(run, batches, 1)
    assert [row["loss.ce"] for row in run.history] == [1.0, 5.0]


def test_the_learning_rate_of_a_row_is_that_of_the_last_batch_of_the_epoch(member, batches):
    run = member(optimizer=Sgd(lr=0.1))
    for epoch in range(3):
        train_epoch(run, batches, epoch)
    last = [(3 + 4 * epoch) / 12 for epoch in range(3)]
    expected = [0.1 * (1 + math.cos(math.pi * progress)) / 2 for progress in last]
    assert [row["lr"] for row in run.history] == pytest.approx(expected)


def test_the_learning_rate_of_a_row_is_the_one_before_the_plateau(member, batches):
    run = member(optimizer=Sgd(lr=0.1), schedule=Plateau(factor=0.5, patience=0))
    for epoch in range(3):
        train_epoch(run, batches, epoch, GOOD)
    assert [row["lr"] for row in run.history] == pytest.approx([0.1, 0.1, 0.05])


def test_every_player_steps(member, batch):
    run = member()
    before = {name: [p.clone() for p in player.parameters()] for name, player in run.method.players().items()}
    run.start_epoch()
    run.train_batch(batch)
    for name, player in run.method.players().items():
        pairs = zip(before[name], player.parameters(), strict=True)
        assert not all(torch.equal(a, b) for a, b in pairs), name


def test_the_student_is_in_training_mode_again_after_an_evaluation(member, batches):
    run = member()
    for epoch in range(2):
        train_epoch(run, batches, epoch, GOOD)
        run.method.eval()
    assert run.method.modes == [True] * 8


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_fails_the_run_and_is_named(member, batches, value):
    run = member(change_loss=lambda batch, loss: loss * value if batch.progress > 0.4 else loss)
    train_epoch(run, batches, 0, GOOD)
    assert run.is_training
    train_epoch(run, batches, 1, GOOD)
    assert not run.is_training
    assert isinstance(run.error, NotFiniteError)
    assert str(run.error).startswith("epoch 2: loss.ce, loss.hint became NaN or infinite; lower the learning rate")


def test_a_score_that_is_not_finite_fails_the_run(member, batches):
    run = member()
    train_epoch(run, batches, 0, {"val_accuracy": 0.5, "val_nll": math.nan})
    assert isinstance(run.error, NotFiniteError)
    assert str(run.error).startswith("epoch 1: val_nll became NaN or infinite")
    assert run.best.epoch == 0


def test_an_exception_of_the_method_fails_the_run(member, batch):
    def raising(batch, loss):
        raise ValueError("invalid")

    run = member(change_loss=raising)
    run.start_epoch()
    run.train_batch(batch)
    assert not run.is_training
    assert repr(run.error) == "ValueError('invalid')"


def test_a_failed_run_closes_its_generator_and_frees_its_autograd_graphs(member, batch, monkeypatch):
    run, closed, references = member(), [], []

    def steps(batch):
        try:
            logits = run.method.student(batch.images).logits
            references.append(weakref.ref(logits))
            yield Step({"ce": logits.detach().sum()})
        finally:
            closed.append(True)

    monkeypatch.setattr(run.method, "steps", steps)
    run.train_batch(batch)
    assert isinstance(run.error, TrainingError)
    assert closed == [True]
    gc.collect()
    assert references[0]() is None


def test_a_method_cannot_disable_gradients_for_other_members(member, batch, monkeypatch):
    run = member()

    def steps(batch):
        torch.set_grad_enabled(False)
        raise ValueError("broken")
        yield

    monkeypatch.setattr(run.method, "steps", steps)
    with torch.enable_grad():  # so that a failure of this test does not fail all later tests
        run.train_batch(batch)
        assert torch.is_grad_enabled()
    assert str(run.error) == "broken"


def test_an_optimizer_for_an_unknown_player_is_refused(member, monkeypatch):
    method = member().method
    monkeypatch.setattr(method, "optimizers", lambda: {"scael": OptimizerSpec()})
    with pytest.raises(
        MethodError,
        match=r"^optimizers\(\) names the player 'scael', which players\(\) does not return; did you mean 'scale'\?$",
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
    run.train_batch(batch)
    assert isinstance(run.error, TrainingError)
    assert str(run.error) == "a step names the player 'peer'; the players are ['scale', 'student']"


def test_the_generator_is_exhausted(member, batch, monkeypatch):
    run, after = member(), []

    def steps(batch):
        yield Step({"size": run.method.scale.weight.sum()}, "scale")
        after.append(run.method.scale.weight.item())

    before = run.method.scale.weight.item()
    monkeypatch.setattr(run.method, "steps", steps)
    run.train_batch(batch)
    assert run.error is None
    assert after == [run.method.scale.weight.item()]
    assert after != [before]


@pytest.mark.parametrize(("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_autocast_is_entered_for_every_step(member, batch, monkeypatch, precision, dtype):
    run, seen = member(precision=precision), []

    def steps(batch):
        for _ in range(2):
            logits = run.method.student(batch.images).logits
            seen.append((logits.dtype, logits.detach().float()))
            yield Step({"ce": logits.float().square().sum()})

    monkeypatch.setattr(run.method, "steps", steps)
    run.method.eval()
    run.train_batch(batch)
    assert [kind for kind, _ in seen] == [dtype, dtype]
    assert not torch.equal(seen[0][1], seen[1][1]), "the second step used the weights from before the first"
    assert not torch.is_autocast_enabled("cpu")


def test_the_global_random_state_is_restored(member, batch):
    run = member()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    run.train_batch(batch)
    assert torch.equal(torch.rand(3), expected)


def test_a_runs_random_state_advances_from_batch_to_batch(member, batch, monkeypatch):
    run, numbers = member(), []

    def steps(batch):
        numbers.append(torch.rand(1).item())
        yield from ()

    monkeypatch.setattr(run.method, "steps", steps)
    for progress in (0.0, 0.1, 0.2):
        torch.manual_seed(0)
        run.train_batch(replace(batch, progress=progress))
    assert len(set(numbers)) == 3


def test_deployed_weights_are_copies(member, batch):
    run = member()
    weight = run.deployed_weights()["student"]["head.weight"]
    before = weight.clone()
    run.train_batch(batch)
    assert torch.equal(weight, before)
    assert not torch.equal(run.method.student.head.weight, before)


SCORES = [(0.4, 1.0), (0.6, 2.0), (0.6, 1.5), (0.5, 0.1), (0.6, 0.1)]


@pytest.mark.parametrize(("monitor", "epoch", "score"), [("accuracy", 2, 0.6), ("loss", 4, -0.1)])
def test_the_best_epoch_is_the_first_with_the_best_score_of_the_monitor(member, batches, monitor, epoch, score):
    run, weights = member(epochs=5, monitor=monitor), []
    for index, (accuracy, loss) in enumerate(SCORES):
        train_epoch(run, batches, index, {"val_accuracy": accuracy, "val_nll": loss})
        weights.append(run.deployed_weights()["student"]["head.weight"])
    assert (run.best.epoch, run.best.score) == (epoch, score)
    assert torch.equal(run.best.weights["student"]["head.weight"], weights[epoch - 1])


def test_without_validation_there_is_no_best_epoch(member, batches):
    run = member(early_stopping=EarlyStopping(patience=1))
    train_epoch(run, batches, 0, {"test_accuracy": 0.5})
    assert run.is_training
    assert run.best.weights == {}


def drive(run, batches, scores):
    """Train until the run stops: per epoch the learning rate that follows, the best epoch, and whether it ended."""
    found = []
    for epoch, (accuracy, loss) in enumerate(scores):
        train_epoch(run, batches, epoch, {"val_accuracy": accuracy, "val_nll": loss})
        found.append((run.optimizers["student"].lr(0.5), run.best.epoch, run.is_finished))
        if run.is_finished:
            break
    return found


@given(
    scores=st.lists(st.tuples(st.sampled_from([0.4, 0.5, 0.6]), st.sampled_from([1.0, 2.0, 3.0])), min_size=1),
    monitor=st.sampled_from(["accuracy", "loss"]),
    patience=st.integers(1, 4),
)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_plateau_early_stopping_and_keeping_follow_one_rule(member, batches, scores, monitor, patience):
    """Written out: an epoch is new best if it is strictly better than all before it."""
    run = member(
        epochs=len(scores),
        monitor=monitor,
        early_stopping=EarlyStopping(patience=patience),
        schedule=Plateau(factor=0.5, patience=1),
        optimizer=Sgd(lr=1.0),
    )
    expected, values, factor, waited = [], [], 1.0, 0
    for accuracy, loss in scores:
        values.append(accuracy if monitor == "accuracy" else -loss)
        best = values.index(max(values)) + 1
        waited = 0 if best == len(values) else waited + 1
        if waited == 2:
            factor, waited = factor / 2, 0
        expected.append((factor, best, len(values) - best >= patience))
        if expected[-1][2]:
            break
    assert drive(run, batches, scores) == expected
    assert run.error is None


def test_plateau_lowers_the_learning_rate_of_all_players(member, batches):
    run = member(schedule=Plateau(factor=0.5, patience=0), optimizer=Sgd(lr=0.1))
    for epoch in range(2):
        train_epoch(run, batches, epoch, GOOD)
    assert {name: o.lr(0.5) for name, o in run.optimizers.items()} == pytest.approx({"student": 0.05, "scale": 0.05})


def test_a_resumed_run_stops_and_lowers_its_learning_rate_as_one_that_was_not_interrupted(member, batches):
    recipe = {
        "epochs": 9,
        "early_stopping": EarlyStopping(patience=4),
        "schedule": Plateau(factor=0.5, patience=1),
        "optimizer": Sgd(lr=0.1),
    }
    scores = [(0.4, 1.0), (0.6, 2.0), (0.6, 1.5), (0.5, 0.1), (0.6, 0.1), (0.3, 0.1), (0.3, 0.1)]
    whole, first, second = member(**recipe), member(**recipe), member(**recipe)
    expected = drive(whole, batches, scores)
    drive(first, batches, scores[:3])
    second.load_state_dict(from_bytes(to_bytes(first.state_dict(()))), ())
    found = []
    for epoch, (accuracy, loss) in list(enumerate(scores))[3 : len(expected)]:
        train_epoch(second, batches, epoch, {"val_accuracy": accuracy, "val_nll": loss})
        found.append((second.optimizers["student"].lr(0.5), second.best.epoch, second.is_finished))
    assert found == expected[3:]
    assert found[-1][2]
    assert torch.equal(second.best.weights["student"]["head.weight"], whole.best.weights["student"]["head.weight"])


def test_a_run_is_a_function_of_its_seed(member, batches):
    first, second, other = member(schedule=Constant()), member(schedule=Constant()), member(seed=8, schedule=Constant())
    for run in (first, second, other):
        torch.manual_seed(id(run) % 1000)
        train_epoch(run, batches)
    weights = [run.deployed_weights()["student"]["conv.weight"] for run in (first, second, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
