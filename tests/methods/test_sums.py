"""A sum has one cross-entropy and every other term of its parts."""

import pytest
import torch
import torch.nn.functional as F

from kdbench.errors import MethodError
from kdbench.methods.baseline.scratch import Scratch
from kdbench.methods.feature.attention import Attention
from kdbench.methods.feature.fitnets import FitNets
from kdbench.methods.relation.relational_kd import RelationalDistanceAngle
from kdbench.methods.response.relative_kd import RelativeV2
from kdbench.methods.response.vanilla import Vanilla
from kdbench.methods.sums import Sum, not_summable
from kdbench.training.network import Frozen


@pytest.fixture
def frozen(teacher):
    return Frozen(teacher)


def test_cross_entropy_appears_once_with_weight_one(student, frozen, batch):
    (step,) = Sum({"vanilla": Vanilla(student, frozen), "rkd_da": RelationalDistanceAngle(student, frozen)}).steps(
        batch
    )
    assert list(step.losses) == ["ce", "kl", "distance", "angle"]
    torch.testing.assert_close(step.losses["ce"], F.cross_entropy(student(batch.images).logits, batch.labels))


def test_terms_keep_the_weights_of_their_part(student, frozen, batch):
    vanilla, attention = Vanilla(student, frozen, alpha=0.3), Attention(student, frozen)
    (step,) = Sum({"vanilla": vanilla, "attention": attention}).steps(batch)
    (alone,), (other) = vanilla.steps(batch), next(attention.steps(batch))
    torch.testing.assert_close(step.losses["kl"], alone.losses["kl"])
    torch.testing.assert_close(step.losses["attention"], other.losses["attention"])


def test_terms_that_two_parts_have_are_named_by_their_part(student, frozen, batch):
    vanilla, relative = Vanilla(student, frozen), RelativeV2(student, frozen)
    (step,) = Sum({"vanilla": vanilla, "rkd_v2": relative, "attention": Attention(student, frozen)}).steps(batch)
    assert list(step.losses) == ["ce", "vanilla.kl", "rkd_v2.kl", "attention"]
    torch.testing.assert_close(step.losses["rkd_v2.kl"], next(relative.steps(batch)).losses["kl"])


def test_a_custom_method_may_be_a_part(student, frozen, batch):
    (step,) = Sum({"my.module:Mine": Vanilla(student, frozen), "vanilla": Vanilla(student, frozen)}).steps(batch)
    assert list(step.losses) == ["ce", "my.module:Mine.kl", "vanilla.kl"]


def test_the_player_has_every_parameter_once_and_none_of_the_teacher(student, frozen):
    hint = FitNets(student, frozen)
    method = Sum({"vanilla": Vanilla(student, frozen), "fitnets": hint})
    (player,) = method.players().values()
    expected = [*student.parameters(), *hint.regressor.parameters()]
    assert [id(p) for _, p in player.named_parameters(remove_duplicate=False)] == [id(p) for p in expected]
    assert method.deployed() == {"student": student}


def test_the_networks_run_once_per_batch(student, frozen, batch):
    calls = []
    student.register_forward_hook(lambda *_: calls.append("student"))
    frozen.network.register_forward_hook(lambda *_: calls.append("teacher"))
    list(Sum({"vanilla": Vanilla(student, frozen), "attention": Attention(student, frozen)}).steps(batch))
    assert sorted(calls) == ["student", "teacher"]


def test_a_single_part_is_refused(student, frozen):
    with pytest.raises(MethodError, match=r"needs at least two methods, got \['vanilla'\]"):
        Sum({"vanilla": Vanilla(student, frozen)})


def test_parts_of_different_networks_are_refused(student, frozen, tiny):
    with pytest.raises(MethodError, match="must share one student and one frozen teacher; build"):
        Sum({"vanilla": Vanilla(student, frozen), "attention": Attention(tiny(3), frozen)})


def test_not_summable_returns_the_reason():
    assert not_summable(Vanilla, alpha=0.5) is None
    assert not_summable(FitNets, mode="joint") is None
    assert "mode = 'joint' can be summed" in not_summable(FitNets, mode="two_stage")
    assert "one fixed teacher and one step per batch" in not_summable(Scratch)


def test_a_method_with_its_own_steps_or_images_cannot_be_summed():
    stepping = type("Stepping", (Vanilla,), {"steps": lambda self, batch: iter(())})
    viewing = type("Viewing", (Vanilla,), {"views": 2})
    assert "has its own steps" in not_summable(stepping)
    assert "other images than the plain batches" in not_summable(viewing)
