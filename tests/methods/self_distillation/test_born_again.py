"""Born-again networks: the loss, the ensemble and the chain of runs."""

import copy
from dataclasses import replace

import pytest
import torch

from kdbench.matrix.recipe import Recipe
from kdbench.matrix.spec import DataSpec, NetworkSpec, Part, RunSpec, Split
from kdbench.methods.self_distillation.born_again import BornAgain
from kdbench.training.network import shapes


@pytest.fixture
def spec():
    """A run of born_again before planning, with the pair's own teacher."""
    run = RunSpec(
        dataset=DataSpec("digits", "digits"),
        student=NetworkSpec("resnet8"),
        parts=(Part("born_again"),),
        recipe=Recipe(epochs=3),
        split=Split(),
        seed=4,
    )
    return replace(run, needs=(("teacher", replace(run.scratch(), student=NetworkSpec("resnet14"))),))


def generation(spec, number):
    return replace(spec, parts=(Part("born_again", {"generations": number}),))


def test_the_loss_is_cross_entropy_and_kl_at_temperature_one(student, teacher, batch):
    q = student(batch.images).logits.softmax(dim=1)
    p = copy.deepcopy(teacher).eval()(batch.images).logits.softmax(dim=1)
    step = next(BornAgain(student, teacher).steps(batch))
    assert step.losses["ce"].item() == pytest.approx(-q[range(8), batch.labels].log().mean().item(), rel=1e-4)
    assert step.losses["kl"].item() == pytest.approx((p * (p / q).log()).sum().item() / 8, rel=1e-4)
    assert list(step.losses) == ["ce", "kl"]


def test_only_the_student_learns(tiny, batch):
    method = BornAgain(tiny(1), tiny(2), [tiny(3)]).train()
    older = (method.teacher, *method.teachers)
    before = [copy.deepcopy(network.state_dict()) for network in older]
    for step in method.steps(batch):
        sum(step.losses.values()).backward()
    assert list(method.players()["student"].children()) == [method.student]
    assert all(parameter.grad is not None for parameter in method.student.parameters())
    for network, kept in zip(older, before, strict=True):
        assert all(torch.equal(value, kept[name]) for name, value in network.state_dict().items())
        assert all(parameter.grad is None for parameter in network.parameters())
        assert not any(module.training for module in network.modules())


def test_the_ensemble_is_the_logarithm_of_the_mean_probability(tiny, batch):
    networks = [tiny(seed).eval() for seed in (1, 2, 3)]
    method = BornAgain(networks[0], networks[1], [networks[2]]).eval()
    ensemble = method.deployed()["ensemble"]
    output = ensemble(batch.images)
    mean = sum(network(batch.images).logits.softmax(dim=1) for network in networks) / 3
    assert output.logits.shape == (8, 4)
    torch.testing.assert_close(output.logits, mean.log())
    torch.testing.assert_close(output.logits.logsumexp(dim=1), torch.zeros(8), atol=1e-5, rtol=0)
    assert (shapes(ensemble).embedding, shapes(ensemble).num_classes) == (24, 4)


def test_the_ensemble_stays_finite_where_a_probability_is_zero(tiny, batch):
    networks = [tiny(1), tiny(2)]
    for network in networks:
        network.head.weight.data.zero_()
        network.head.bias.data = torch.tensor([500.0, 0.0, 0.0, 0.0])
    logits = BornAgain(*networks).deployed()["ensemble"](batch.images).logits
    torch.testing.assert_close(logits, torch.tensor([[0.0, -500.0, -500.0, -500.0]]).expand(8, 4))


def test_the_student_is_the_row_and_the_ensemble_an_extra(student, teacher):
    method = BornAgain(student, teacher)
    assert list(method.deployed()) == ["student", "ensemble"]
    assert method.deployed()["student"] is student
    assert list(method.deployed()["ensemble"].members) == [method.teacher, student]


def test_the_teacher_of_the_first_generation_is_trained_from_scratch(spec):
    needs = BornAgain.needs(generation(spec, 1))
    assert {role: run.id for role, run in needs.items()} == {"teacher": spec.scratch().id}


def test_the_default_is_two_generations(spec):
    found, written = BornAgain.needs(spec), BornAgain.needs(generation(spec, 2))
    assert {role: run.id for role, run in found.items()} == {role: run.id for role, run in written.items()}
    assert list(found) == ["teacher", "teachers.0"]
    assert found["teachers.0"].id == spec.scratch().id


def test_every_generation_is_the_same_run_with_one_generation_less(spec):
    needs = BornAgain.needs(generation(spec, 4))
    assert [(role, run.method, run.hyperparameters) for role, run in needs.items()] == [
        ("teacher", "born_again", {"generations": 3}),
        ("teachers.0", "scratch", {}),
        ("teachers.1", "born_again", {"generations": 1}),
        ("teachers.2", "born_again", {"generations": 2}),
    ]
    for run in needs.values():
        assert (run.student, run.dataset, run.recipe, run.seed) == (spec.student, spec.dataset, spec.recipe, spec.seed)


def test_the_needs_of_a_generation_equal_those_of_its_own_run(spec):
    for run in BornAgain.needs(generation(spec, 3)).values():
        own = BornAgain.needs(run) if run.method == "born_again" else {}
        assert {role: need.id for role, need in run.needs} == {role: need.id for role, need in own.items()}
        assert spec.teacher.id not in {need.id for _, need in run.needs}


def test_a_generation_is_one_run_for_all_that_need_it(spec):
    four, three = BornAgain.needs(generation(spec, 4)), BornAgain.needs(generation(spec, 3))
    assert four["teachers.2"].id == three["teacher"].id
