"""One player's optimizer against plain torch."""

import copy
import math

import pytest
import torch
from torch import nn

from kdbench.errors import TrainingError
from kdbench.matrix.recipe import Adam, AdamW, Constant, Cosine, MultiStep, Plateau, Recipe, Sgd
from kdbench.training import optimizer
from kdbench.training.method import OptimizerSpec
from kdbench.training.optimizer import PlayerOptimizer

RECIPE = Recipe(epochs=10, optimizer=Sgd(lr=0.1), schedule=Constant(), precision="fp32")


@pytest.fixture
def player():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))


@pytest.fixture
def inputs():
    return torch.randn(5, 3, generator=torch.Generator().manual_seed(1))


def recipe(**changes):
    return RECIPE.model_copy(update=changes)


OPTIMISERS = {
    "sgd": (
        Sgd(lr=0.03, momentum=0.8, weight_decay=0.01),
        lambda p: torch.optim.SGD(p, 0.03, momentum=0.8, weight_decay=0.01),
    ),
    "nesterov": (
        Sgd(lr=0.03, momentum=0.8, weight_decay=0.0, nesterov=True),
        lambda p: torch.optim.SGD(p, 0.03, momentum=0.8, nesterov=True),
    ),
    "adam": (
        Adam(lr=0.02, betas=(0.8, 0.9), weight_decay=0.1),
        lambda p: torch.optim.Adam(p, 0.02, (0.8, 0.9), weight_decay=0.1),
    ),
    "adamw": (
        AdamW(lr=0.02, betas=(0.8, 0.9), weight_decay=0.1),
        lambda p: torch.optim.AdamW(p, 0.02, (0.8, 0.9), weight_decay=0.1),
    ),
}


@pytest.mark.parametrize(("ours", "plain"), OPTIMISERS.values(), ids=OPTIMISERS)
@pytest.mark.parametrize("grad_clip_norm", [None, 0.05])
def test_steps_are_those_of_torch(player, inputs, ours, plain, grad_clip_norm):
    twin = copy.deepcopy(player)
    optimizer = PlayerOptimizer(
        player, recipe(optimizer=ours, schedule=Cosine(), grad_clip_norm=grad_clip_norm), OptimizerSpec()
    )
    reference = plain(twin.parameters())
    full = reference.param_groups[0]["lr"]
    for step in range(5):
        outputs = player(inputs)
        optimizer.set_lr(step / 5)
        optimizer.step({"a": outputs.square().sum(), "b": -outputs.sum()})
        reference.zero_grad()
        (twin(inputs).square().sum() - twin(inputs).sum()).backward()
        if grad_clip_norm is not None:
            nn.utils.clip_grad_norm_(twin.parameters(), grad_clip_norm)
        reference.param_groups[0]["lr"] = full * (1 + math.cos(math.pi * step / 5)) / 2
        reference.step()
    for ours_now, theirs_now in zip(player.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(ours_now, theirs_now)
        assert ours_now.grad is None


@pytest.mark.parametrize("grad_clip_norm", [None, 0.05])
@pytest.mark.parametrize("ours", [Sgd(lr=0.1), Adam(lr=0.1)], ids=["sgd", "adam"])
def test_fused_steps_follow_gradients_of_any_layout(monkeypatch, ours, grad_clip_norm):
    """A gradient by way of a transpose or of a broadcast is not laid out as its parameter is."""
    found = []
    for recording in (set(), {"cpu"}):
        monkeypatch.setattr(optimizer, "RECORDING", recording)
        player = nn.ParameterList([torch.arange(12.0).reshape(3, 4), torch.ones(3, 4)])
        steps = PlayerOptimizer(player, recipe(optimizer=ours, grad_clip_norm=grad_clip_norm), OptimizerSpec())
        for _ in range(3):
            turned, spread = player
            weights = torch.linspace(-1, 1, 12).reshape(4, 3)
            steps.set_lr(0.0)
            steps.step({"turned": (turned.t() * weights).sum(), "spread": spread.sum()})
        found.append([parameter.detach().clone() for parameter in player])
    for plain, fused in zip(*found, strict=True):
        torch.testing.assert_close(plain, fused)


def test_on_a_device_that_records_a_state_of_one_that_does_not_is_gone_on_from(monkeypatch):
    """There a parameter without a gradient has no momentum yet, here each has one from the beginning."""

    def steps(optimizer, player, names):
        for _ in range(2):
            optimizer.set_lr(0.0)
            optimizer.step({"loss": sum(player[name].square().sum() for name in names)})

    def made():
        player = nn.ParameterDict({"early": torch.ones(3), "late": torch.ones(2)})
        return player, PlayerOptimizer(player, recipe(), OptimizerSpec())

    (player, plain), begun = made(), {}
    steps(plain, player, ["early"])
    begun.update(weights=copy.deepcopy(player.state_dict()), moments=copy.deepcopy(plain.state()))
    steps(plain, player, ["early", "late"])
    monkeypatch.setattr(optimizer, "RECORDING", {"cpu"})
    other, resumed = made()
    other.load_state_dict(begun["weights"])
    resumed.resume(begun["moments"])
    steps(resumed, other, ["early", "late"])
    for name in ("early", "late"):
        torch.testing.assert_close(other[name], player[name])


def test_only_the_player_moves(player, inputs):
    other = nn.Linear(2, 2)
    before = copy.deepcopy(other.state_dict())
    started = [parameter.clone() for parameter in player.parameters()]
    PlayerOptimizer(player, RECIPE, OptimizerSpec()).step({"loss": other(player(inputs)).sum()})
    assert all(torch.equal(before[name], value) for name, value in other.state_dict().items())
    assert all(parameter.grad is None for parameter in other.parameters())
    assert not any(torch.equal(a, b) for a, b in zip(started, player.parameters(), strict=True))


def test_parameters_that_do_not_train_are_left_out(player, inputs):
    player[0].requires_grad_(False)
    fixed = player[0].weight.clone()
    optimizer = PlayerOptimizer(player, recipe(optimizer=Sgd(lr=1.0, weight_decay=0.5)), OptimizerSpec())
    assert [p.shape for p in optimizer.parameters] == [(2, 4), (2,)]
    optimizer.step({"loss": player(inputs).sum()})
    assert torch.equal(player[0].weight, fixed)


@pytest.mark.parametrize("depends", [True, False], ids=["on another player", "on nothing"])
def test_a_loss_that_does_not_depend_on_the_player_is_an_error(player, depends):
    loss = nn.Linear(2, 1)(torch.ones(1, 2)).sum() if depends else torch.tensor(1.0)
    with pytest.raises(TrainingError, match=r"^no loss of \['kl'\] depends on the player that steps$"):
        PlayerOptimizer(player, RECIPE, OptimizerSpec()).step({"kl": loss})


def test_a_step_is_clipped_to_the_norm(player, inputs):
    started = [parameter.clone() for parameter in player.parameters()]
    plain = Sgd(lr=1.0, momentum=0.0, weight_decay=0.0)
    PlayerOptimizer(player, recipe(optimizer=plain, grad_clip_norm=100.0), OptimizerSpec(grad_clip_norm=0.25)).step(
        {"loss": 1000 * player(inputs).sum()}
    )
    moved = torch.cat([(a - b).flatten() for a, b in zip(started, player.parameters(), strict=True)])
    assert moved.norm().item() == pytest.approx(0.25, rel=1e-4)


def test_a_gradient_that_two_parameters_share_is_clipped_once():
    player = nn.ParameterList([torch.zeros(1), torch.zeros(1)])
    plain = recipe(optimizer=Sgd(lr=1.0, momentum=0.0, weight_decay=0.0), grad_clip_norm=2**0.5)
    PlayerOptimizer(player, plain, OptimizerSpec()).step({"loss": 100 * (player[0] + player[1]).sum()})
    assert [parameter.item() for parameter in player] == pytest.approx([-1.0, -1.0], rel=1e-4)


def test_what_a_player_does_not_say_is_the_recipes(player):
    ours = recipe(optimizer=Sgd(lr=0.4), schedule=MultiStep(milestones=(5,), gamma=0.5))
    assert PlayerOptimizer(player, ours, OptimizerSpec()).lr(0.7) == pytest.approx(0.2)
    assert PlayerOptimizer(player, ours, OptimizerSpec(optimizer=Adam(lr=0.01))).lr(0.7) == pytest.approx(0.005)
    assert PlayerOptimizer(player, ours, OptimizerSpec(schedule=Cosine())).lr(0.5) == pytest.approx(0.2)


def test_cycles_run_the_schedule_several_times(player):
    optimizer = PlayerOptimizer(player, RECIPE, OptimizerSpec(schedule=Cosine(), cycles=4))
    cosine = [0.1 * (1 + math.cos(math.pi * share)) / 2 for share in (0, 0.5, 0, 0.2, 0, 0.5, 1)]
    found = [optimizer.lr(progress) for progress in (0, 0.125, 0.25, 0.3, 0.75, 0.875, 1)]
    assert found == pytest.approx(cosine)


def test_milestones_and_warm_up_of_a_cycle_are_in_epochs(player):
    stepped = MultiStep(milestones=(4,), gamma=0.1, warmup=2)
    optimizer = PlayerOptimizer(player, RECIPE, OptimizerSpec(schedule=stepped, cycles=2))
    found = [optimizer.lr(epoch / 10) for epoch in (0, 1, 3, 4, 5, 6, 8, 9, 10)]
    assert found == pytest.approx([0, 0.05, 0.1, 0.01, 0, 0.05, 0.1, 0.01, 0.01])


def test_a_cycle_begins_with_the_full_rate():
    """Also where begin / cycles * cycles is a little less than begin, as for 15 of 22."""
    for cycles in range(1, 101):
        optimizer = PlayerOptimizer(nn.Linear(1, 1), RECIPE, OptimizerSpec(schedule=Cosine(), cycles=cycles))
        rates = [optimizer.lr(begin / cycles) for begin in range(cycles)]
        assert rates == pytest.approx([0.1] * cycles), cycles


def test_plateau_lowers_the_rate_of_every_later_step(player):
    optimizer = PlayerOptimizer(player, recipe(schedule=Plateau(factor=0.5, patience=0)), OptimizerSpec())
    for loss in (1.0, 2.0):
        optimizer.observe(loss)
    assert optimizer.lr(0.3) == pytest.approx(0.05)


def test_other_schedules_do_not_read_the_validation_loss(player):
    optimizer = PlayerOptimizer(player, RECIPE, OptimizerSpec())
    for loss in (1.0, 2.0, 3.0, 4.0, 5.0):
        optimizer.observe(loss)
    assert optimizer.lr(0.3) == pytest.approx(0.1)
