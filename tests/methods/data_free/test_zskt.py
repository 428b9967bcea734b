"""Zero-shot transfer against the paper's game, written out."""

import copy
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kdbench.matrix.recipe import Adam, Cosine
from kdbench.methods.data_free.zskt import ZSKT, Generator
from kdbench.training.method import OptimizerSpec
from kdbench.training.network import shapes

RATE = 0.05


def play(method, batch, precision=None):
    """Step as the harness does; the player and the terms of every step."""
    torch.manual_seed(5)
    steps, record = method.steps(batch), []
    while True:
        with torch.autocast("cpu", dtype=precision, enabled=precision is not None):
            step = next(steps, None)
        if step is None:
            return record
        descend(sum(step.losses.values()), method.players()[step.player])
        record.append((step.player, {name: float(loss.detach()) for name, loss in step.losses.items()}))


def descend(loss, network):
    parameters = list(network.parameters())
    for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
        parameter.data -= RATE * gradient


def kl(teacher, student):
    p, q = teacher.softmax(dim=1), student.softmax(dim=1)
    return (p * (p / q).log()).sum() / len(p)


def attention(stage):
    heat = (stage**2).mean(dim=1).flatten(1)
    return heat / (heat**2).sum(dim=1, keepdim=True).sqrt()


def game(method, student_steps, beta):
    """The reference, on copies of the method's networks, which stay as they are."""
    student, teacher, generator = (copy.deepcopy(n) for n in (method.student, method.teacher.network, method.generator))
    torch.manual_seed(5)
    noise = torch.randn(method.batch_size, 100)
    images = generator(noise)
    adversarial = -kl(teacher(images).logits, student(images).logits)
    descend(adversarial, generator)
    record = [("generator", {"adversarial": float(adversarial.detach())})]
    images = generator(noise).detach()
    for _ in range(student_steps):
        s, t = student(images), teacher(images)
        pairs = zip(s.stages, t.stages, strict=True)
        losses = {
            "kl": kl(t.logits, s.logits),
            "at": beta * sum(((attention(a) - attention(b)) ** 2).mean() for a, b in pairs),
        }
        descend(losses["kl"] + losses["at"], student)
        record.append(("student", {name: float(loss.detach()) for name, loss in losses.items()}))
    return record, student, generator


@pytest.fixture
def method(student, teacher, task):
    return ZSKT(student, teacher, task, student_steps=3, beta=20.0)


def test_every_step_is_the_formula(method, batch):
    expected, student, generator = game(method, student_steps=3, beta=20.0)
    found = play(method, batch)
    assert [player for player, _ in found] == ["generator", "student", "student", "student"]
    for (_, losses), (_, reference) in zip(found, expected, strict=True):
        assert losses == pytest.approx(reference, rel=1e-3)
    for network, reference in ((method.student, student), (method.generator, generator)):
        for parameter, value in zip(network.parameters(), reference.parameters(), strict=True):
            # a mean, since Adam divides by the size of the gradient: near zero rounding decides single elements
            assert (parameter - value).abs().mean() < 1e-4


def test_autocast_gives_about_the_same_losses_in_float32(method, batch):
    expected, _, _ = game(method, student_steps=3, beta=20.0)
    found = play(copy.deepcopy(method), batch, torch.bfloat16)
    for (_, losses), (_, reference) in zip(found, expected, strict=True):
        assert losses == pytest.approx(reference, rel=0.3, abs=0.05)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        steps = method.steps(batch)
        dtypes = {loss.dtype for step in (next(steps), next(steps)) for loss in step.losses.values()}
    assert dtypes == {torch.float32}


def test_the_generator_learns_through_the_teacher_which_does_not(method, batch):
    torch.manual_seed(5)
    step = next(method.steps(batch))
    weight = method.generator.project[0].weight
    (through,) = torch.autograd.grad(step.losses["adversarial"], weight)
    torch.manual_seed(5)
    images = method.generator(torch.randn(method.batch_size, 100))
    blocked = -kl(method.teacher(images).logits.detach(), method.student(images).logits)
    assert (through - torch.autograd.grad(blocked, weight)[0]).abs().max() > 0.01 * through.abs().max()
    assert not any(parameter.requires_grad for parameter in method.teacher.parameters())


def test_the_teacher_does_not_change_and_stays_in_eval_mode(method, batch):
    before = copy.deepcopy(method.teacher.state_dict())
    play(method.train(), batch)
    after = method.teacher.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert not any(module.training for module in method.teacher.modules())


def test_no_image_and_no_label_is_read(method, batch):
    other = copy.deepcopy(method)
    blank = replace(batch, images=torch.full_like(batch.images, torch.nan), labels=batch.labels - 100, views=())
    found = play(method, blank)
    assert all(torch.tensor(loss).isfinite() for _, losses in found for loss in losses.values())
    assert found == play(other, batch)


def test_the_student_steps_on_one_batch_made_after_the_generators_step(student, teacher, task, batch):
    method, seen = ZSKT(student, teacher, replace(task, batch_size=5), student_steps=3), []
    student.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    play(method, batch)
    assert [tuple(images.shape) for images in seen] == [(5, *task.image_shape)] * 4
    assert [images.requires_grad for images in seen] == [True, False, False, False]
    assert seen[1] is seen[2]
    assert seen[2] is seen[3]
    torch.manual_seed(5)
    with torch.no_grad():
        again = method.generator(torch.randn(5, 100))
    torch.testing.assert_close(seen[1], again)
    assert not torch.allclose(seen[0], again)


def test_a_network_without_maps_has_no_attention_term(flat, teacher, task, batch):
    found = play(ZSKT(flat, teacher, task, student_steps=1), batch)
    assert [list(losses) for _, losses in found] == [["adversarial"], ["kl"]]


@settings(max_examples=15)
@given(channels=st.integers(1, 4), height=st.integers(2, 33), width=st.integers(2, 33))
def test_the_generator_makes_normalised_images_of_any_size(channels, height, width):
    images = Generator((channels, height, width))(torch.randn(4, 100))
    assert images.shape == (4, channels, height, width)
    torch.testing.assert_close(images.mean(dim=(0, 2, 3)), torch.zeros(channels), atol=1e-4, rtol=0)
    torch.testing.assert_close(images.var(dim=(0, 2, 3), unbiased=False), torch.ones(channels), atol=0.02, rtol=0)


def test_both_players_have_the_papers_optimizers(method):
    assert method.optimizers() == {
        "generator": OptimizerSpec(optimizer=Adam(lr=1e-3), schedule=Cosine(), grad_clip_norm=5.0),
        "student": OptimizerSpec(optimizer=Adam(lr=2e-3), schedule=Cosine(), grad_clip_norm=5.0),
    }


def test_no_training_data_and_only_the_student_graduates(method):
    assert method.data == "none"
    assert method.players() == {"generator": method.generator, "student": method.student}
    assert method.deployed() == {"student": method.student}


def test_a_teacher_with_the_same_classes_is_needed(flat, teacher, task):
    mlp, convolutional = shapes(flat), shapes(teacher)
    assert ZSKT.incompatible(mlp, convolutional, task) is None
    assert ZSKT.incompatible(mlp, None, task) == "needs a teacher"
    reason = ZSKT.incompatible(mlp, replace(convolutional, num_classes=7), task)
    assert reason == "compares logits, but the teacher has 7 classes and the student 4"
