"""A player's optimizer, compared with plain torch."""

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


OPTIMIZERS = {
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


@pytest.mark.parametrize(("ours", "make_reference"), OPTIMIZERS.values(), ids=OPTIMIZERS)
@pytest.mark.parametrize("grad_clip_norm", [None, 0.05])
def test_steps_equal_those_of_torch(player, inputs, ours, make_reference, grad_clip_norm):
    twin = copy.deepcopy(player)
    optimizer = PlayerOptimizer(
        player, recipe(optimizer=ours, schedule=Cosine(), grad_clip_norm=grad_clip_norm), OptimizerSpec()
    )
    reference = make_reference(twin.parameters())
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
def test_fused_optimizers_accept_gradients_of_any_layout(monkeypatch, ours, grad_clip_norm):
    """A gradient through a transpose or a broadcast does not have the memory layout of its parameter."""
    results = []
    for devices in (set(), {"cpu"}):
        monkeypatch.setattr(optimizer, "GRAPH_DEVICES", devices)
        player = nn.ParameterList([torch.arange(12.0).reshape(3, 4), torch.ones(3, 4)])
        steps = PlayerOptimizer(player, recipe(optimizer=ours, grad_clip_norm=grad_clip_norm), OptimizerSpec())
        for _ in range(3):
            transposed, broadcast = player
            weights = torch.linspace(-1, 1, 12).reshape(4, 3)
            steps.set_lr(0.0)
            steps.step({"transposed": (transposed.t() * weights).sum(), "broadcast": broadcast.sum()})
        results.append([parameter.detach().clone() for parameter in player])
    for plain, fused in zip(*results, strict=True):
        torch.testing.assert_close(plain, fused)


def test_a_state_of_a_device_without_graphs_is_loaded_on_one_with_graphs(monkeypatch):
    """Without graphs, a parameter has no momentum buffer before its first gradient; with graphs, all have one."""

    def steps(optimizer, player, names):
        for _ in range(2):
            optimizer.set_lr(0.0)
            optimizer.step({"loss": sum(player[name].square().sum() for name in names)})

    def make():
        player = nn.ParameterDict({"early": torch.ones(3), "late": torch.ones(2)})
        return player, PlayerOptimizer(player, recipe(), OptimizerSpec())

    (player, plain), saved = make(), {}
    steps(plain, player, ["early"])
    saved.update(weights=copy.deepcopy(player.state_dict()), moments=copy.deepcopy(plain.state_dict()))
    steps(plain, player, ["early", "late"])
    monkeypatch.setattr(optimizer, "GRAPH_DEVICES", {"cpu"})
    other, resumed = make()
    other.load_state_dict(saved["weights"])
    resumed.load_state_dict(saved["moments"])
    steps(resumed, other, ["early", "late"])
    for name in ("early", "late"):
        torch.testing.assert_close(other[name], player[name])


def test_only_the_player_is_updated(player, inputs):
    other = nn.Linear(2, 2)
    before = copy.deepcopy(other.state_dict())
    started = [parameter.clone() for parameter in player.parameters()]
    PlayerOptimizer(player, RECIPE, OptimizerSpec()).step({"loss": other(player(inputs)).sum()})
    assert all(torch.equal(before[name], value) for name, value in other.state_dict().items())
    assert all(parameter.grad is None for parameter in other.parameters())
    assert not any(torch.equal(a, b) for a, b in zip(started, player.parameters(), strict=True))


def test_parameters_without_gradients_are_left_out(player, inputs):
    player[0].requires_grad_(False)
    fixed = player[0].weight.clone()
    optimizer = PlayerOptimizer(player, recipe(optimizer=Sgd(lr=1.0, weight_decay=0.5)), OptimizerSpec())
    assert [p.shape for p in optimizer.parameters] == [(2, 4), (2,)]
    optimizer.step({"loss": player(inputs).sum()})
    assert torch.equal(player[0].weight, fixed)


@pytest.mark.parametrize("depends", [True, False], ids=["on another player", "on nothing"])
def test_a_loss_that_does_not_depend_on_the_player_is_an_error(player, depends):
    loss = nn.Linear(2, 1)(torch.ones(1, 2)).sum() if depends else torch.tensor(1.0)
    with pytest.raises(
        TrainingError, match=r"^none of the losses \['kl'\] depends on the parameters of the step's player; yield Step"
    ):
        PlayerOptimizer(player, RECIPE, OptimizerSpec()).step({"kl": loss})


def test_gradients_are_clipped_to_the_norm(player, inputs):
    started = [parameter.clone() for parameter in player.parameters()]
    plain = Sgd(lr=1.0, momentum=0.0, weight_decay=0.0)
    PlayerOptimizer(player, recipe(optimizer=plain, grad_clip_norm=100.0), OptimizerSpec(grad_clip_norm=0.25)).step(
        {"loss": 1000 * player(inputs).sum()}
    )
    moved = torch.cat([(a - b).flatten() for a, b in zip(started, player.parameters(), strict=True)])
    assert moved.norm().item() == pytest.approx(0.25, rel=1e-4)


def test_a_gradient_shared_by_two_parameters_is_clipped_once():
    player = nn.ParameterList([torch.zeros(1), torch.zeros(1)])
    plain = recipe(optimizer=Sgd(lr=1.0, momentum=0.0, weight_decay=0.0), grad_clip_norm=2**0.5)
    PlayerOptimizer(player, plain, OptimizerSpec()).step({"loss": 100 * (player[0] + player[1]).sum()})
    assert [parameter.item() for parameter in player] == pytest.approx([-1.0, -1.0], rel=1e-4)


def test_the_recipe_is_the_default_of_a_player(player):
    ours = recipe(optimizer=Sgd(lr=0.4), schedule=MultiStep(milestones=(5,), gamma=0.5))
    assert PlayerOptimizer(player, ours, OptimizerSpec()).lr(0.7) == pytest.approx(0.2)
    assert PlayerOptimizer(player, ours, OptimizerSpec(optimizer=Adam(lr=0.01))).lr(0.7) == pytest.approx(0.005)
    assert PlayerOptimizer(player, ours, OptimizerSpec(schedule=Cosine())).lr(0.5) == pytest.approx(0.2)


def test_cycles_repeat_the_schedule(player):
    optimizer = PlayerOptimizer(player, RECIPE, OptimizerSpec(schedule=Cosine(), cycles=4))
    cosine = [0.1 * (1 + math.cos(math.pi * progress)) / 2 for progress in (0, 0.5, 0, 0.2, 0, 0.5, 1)]
    rates = [optimizer.lr(progress) for progress in (0, 0.125, 0.25, 0.3, 0.75, 0.875, 1)]
    assert rates == pytest.approx(cosine)


def test_milestones_and_warm_up_of_a_cycle_are_in_epochs(player):
    stepped = MultiStep(milestones=(4,), gamma=0.1, warmup=2)
    optimizer = PlayerOptimizer(player, RECIPE, OptimizerSpec(schedule=stepped, cycles=2))
    rates = [optimizer.lr(epoch / 10) for epoch in (0, 1, 3, 4, 5, 6, 8, 9, 10)]
    assert rates == pytest.approx([0, 0.05, 0.1, 0.01, 0, 0.05, 0.1, 0.01, 0.01])


def test_a_cycle_begins_with_the_full_learning_rate():
    """Also if begin / cycles * cycles is slightly less than begin, as for 15 of 22."""
    for cycles in range(1, 101):
        optimizer = PlayerOptimizer(nn.Linear(1, 1), RECIPE, OptimizerSpec(schedule=Cosine(), cycles=cycles))
        rates = [optimizer.lr(begin / cycles) for begin in range(cycles)]
        assert rates == pytest.approx([0.1] * cycles), cycles


def test_plateau_lowers_the_learning_rate_of_every_later_step(player):
    optimizer = PlayerOptimizer(player, recipe(schedule=Plateau(factor=0.5, patience=0)), OptimizerSpec())
    for is_best in (True, False):
        optimizer.observe(is_best)
    assert optimizer.lr(0.3) == pytest.approx(0.05)


def test_other_schedules_do_not_read_validation_scores(player):
    optimizer = PlayerOptimizer(player, RECIPE, OptimizerSpec())
    for _ in range(5):
        optimizer.observe(False)
    assert optimizer.lr(0.3) == pytest.approx(0.1)
