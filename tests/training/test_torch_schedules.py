"""The schedules against those of torch, batch by batch."""

import warnings

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import nn
from torch.optim import lr_scheduler

from kdbench.matrix.recipe import Adam, AdamW, Cosine, MultiStep, OneCycle, Plateau, Recipe, Sgd
from kdbench.training.method import OptimizerSpec
from kdbench.training.optimizer import PlayerOptimizer

OURS = {"sgd": Sgd(lr=0.1), "adam": Adam(lr=0.1), "adamw": AdamW(lr=0.1)}
THEIRS = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}


def player_optimizer(schedule, epochs, kind="sgd", cycles=1):
    recipe = Recipe(epochs=epochs, optimizer=OURS[kind])
    return PlayerOptimizer(nn.Linear(1, 1), recipe, OptimizerSpec(schedule=schedule, cycles=cycles))


def ours(optimizer, steps):
    """Return learning rate and momentum of each of `steps` batches of a run."""
    batches = [(step / steps, 1 / steps) for step in range(steps)]
    return [(optimizer.lr(*batch), optimizer.momentum(*batch)) for batch in batches]


def theirs(make, steps, kind="sgd", **momentum):
    """Return learning rate and momentum of each of `steps` steps with a scheduler of torch."""
    optimizer = THEIRS[kind](nn.Linear(1, 1).parameters(), lr=0.1, **momentum)
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the optimizer does not step
        scheduler = make(optimizer)
        for _ in range(steps):
            (group,) = optimizer.param_groups
            found.append((group["lr"], group["momentum"] if kind == "sgd" else group["betas"][0]))
            scheduler.step()
    return found


def assert_equal(found, expected):
    assert len(found) == len(expected)
    for step, (a, b) in enumerate(zip(found, expected, strict=True)):
        assert a == pytest.approx(b, rel=1e-6, abs=1e-12), step


@given(
    epochs=st.integers(1, 40),
    per_epoch=st.integers(1, 9),
    pct_start=st.floats(0.05, 0.9),
    div=st.floats(1, 100),
    final_div=st.floats(1, 1e5),
    cycles_momentum=st.booleans(),
    kind=st.sampled_from(sorted(OURS)),
)
def test_one_cycle_is_that_of_torch(epochs, per_epoch, pct_start, div, final_div, cycles_momentum, kind):
    steps = epochs * per_epoch
    assume(steps > 1 and abs(pct_start * steps - 1) > 1e-6)  # torch divides by 0
    momenta = {"base_momentum": 0.7, "max_momentum": 0.9} if cycles_momentum else {}
    schedule = OneCycle(
        pct_start=pct_start,
        div_factor=div,
        final_div_factor=final_div,
        cycle_momentum=cycles_momentum,
        **momenta,
    )

    def reference(optimizer):
        return lr_scheduler.OneCycleLR(
            optimizer,
            max_lr=0.1,
            total_steps=steps,
            pct_start=pct_start,
            div_factor=div,
            final_div_factor=final_div,
            cycle_momentum=cycles_momentum,
            base_momentum=0.7,
            max_momentum=0.9,
        )

    momentum = {"momentum": 0.9} if kind == "sgd" else {}
    assert_equal(ours(player_optimizer(schedule, epochs, kind), steps), theirs(reference, steps, kind, **momentum))


def test_one_cycle_has_its_lowest_rate_in_the_last_batch_and_its_highest_in_the_last_of_the_rise():
    found = [lr for lr, _ in ours(player_optimizer(OneCycle(pct_start=0.3), epochs=10), 100)]
    assert found[0] == pytest.approx(0.1 / 25)
    assert found.index(max(found)) == 29
    assert max(found) == pytest.approx(0.1)
    assert found[-1] == pytest.approx(0.1 / 25 / 1e4)


@pytest.mark.parametrize("cycles", [1, 2, 5])
def test_every_cycle_of_a_player_is_a_one_cycle_of_torch(cycles):
    found = ours(player_optimizer(OneCycle(cycle_momentum=True), 20, cycles=cycles), 20 * cycles)
    assert_equal(found, cycles * theirs(lambda o: lr_scheduler.OneCycleLR(o, 0.1, 20), 20, momentum=0.9))


@given(epochs=st.integers(1, 30), per_epoch=st.integers(1, 9), ratio=st.floats(0, 0.9))
def test_cosine_is_that_of_torch_stepped_with_every_batch(epochs, per_epoch, ratio):
    steps = epochs * per_epoch
    found = ours(player_optimizer(Cosine(min_lr_ratio=ratio), epochs), steps)
    expected = theirs(lambda o: lr_scheduler.CosineAnnealingLR(o, steps, 0.1 * ratio), steps, momentum=0.9)
    for (a, _), (b, _) in zip(found, expected, strict=True):
        assert a == pytest.approx(b, rel=1e-6, abs=1e-12)


@given(epochs=st.integers(1, 30), per_epoch=st.integers(1, 9), milestones=st.sets(st.integers(1, 30), max_size=3))
def test_multistep_is_that_of_torch_stepped_with_every_epoch(epochs, per_epoch, milestones):
    schedule = MultiStep(milestones=tuple(map(float, milestones)), gamma=0.2)
    found = ours(player_optimizer(schedule, epochs), epochs * per_epoch)
    expected = theirs(lambda o: lr_scheduler.MultiStepLR(o, sorted(milestones), gamma=0.2), epochs, momentum=0.9)
    assert_equal(found, [row for row in expected for _ in range(per_epoch)])


@pytest.mark.parametrize(("warmup", "per_epoch"), [(5, 4), (1, 7), (0.5, 10), (3, 1)])
def test_warm_up_is_linear_and_does_not_begin_at_0(warmup, per_epoch):
    schedule, steps = MultiStep(warmup=warmup), 10 * per_epoch
    n = int(warmup * per_epoch)
    found = [lr for lr, _ in ours(player_optimizer(schedule, 10), steps)]
    assert found == pytest.approx([0.1 * (step + 1) / n for step in range(n)] + [0.1] * (steps - n))


@pytest.mark.parametrize("kind", sorted(OURS))
@pytest.mark.parametrize("cycle_momentum", [True, False])
def test_the_steps_of_a_one_cycle_equal_those_of_torch(kind, cycle_momentum):
    torch.manual_seed(0)
    player, twin, inputs = nn.Linear(3, 2), nn.Linear(3, 2), torch.randn(5, 3)
    twin.load_state_dict(player.state_dict())
    plain = Sgd(lr=0.1, momentum=0.5, weight_decay=0.0) if kind == "sgd" else OURS[kind]
    recipe = Recipe(epochs=2, optimizer=plain, schedule=OneCycle(cycle_momentum=cycle_momentum))
    optimizer = PlayerOptimizer(player, recipe, OptimizerSpec())
    reference = THEIRS[kind](twin.parameters(), lr=0.1, **({"momentum": 0.5} if kind == "sgd" else {}))
    scheduler = lr_scheduler.OneCycleLR(reference, 0.1, 8, cycle_momentum=cycle_momentum)
    for step in range(8):
        optimizer.set_lr(step / 8, 1 / 8)
        optimizer.step({"loss": player(inputs).square().sum()})
        reference.zero_grad()
        twin(inputs).square().sum().backward()
        reference.step()
        scheduler.step()
    torch.testing.assert_close(player.weight, twin.weight)


def test_momentum_is_constant_by_default():
    assert {momentum for _, momentum in ours(player_optimizer(OneCycle(), 3), 9)} == {0.9}
    assert not player_optimizer(OneCycle(), 3).cycles_momentum


@given(scores=st.lists(st.sampled_from([0.5, 0.6, 0.7, 0.8]), min_size=1, max_size=20), patience=st.integers(0, 3))
def test_plateau_is_that_of_torch_without_a_threshold(scores, patience):
    optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=0.1)
    reference = lr_scheduler.ReduceLROnPlateau(optimizer, "min", 0.5, patience, threshold=0.0, threshold_mode="abs")
    plateau, lowest = player_optimizer(Plateau(factor=0.5, patience=patience), 30), 1.0
    for score in scores:
        plateau.observe(score < lowest)
        lowest = min(score, lowest)
        reference.step(score)
        assert plateau.lr(0.5) == pytest.approx(optimizer.param_groups[0]["lr"])
