"""Triplets against plain loops."""

import itertools
import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kdbench.methods import create
from kdbench.methods.relation.triplet import Triplet, hardest_negatives, random_negatives, triplet_loss
from kdbench.training.network import shapes

MODES = list(itertools.product([True, False], ["probabilities", "logits"]))


def outputs(logits, on):
    if on == "logits":
        return logits.tolist()
    return [[math.exp(z) / sum(math.exp(w) for w in row) for z in row] for row in logits.tolist()]


def distance(a, b, squared=True):
    total = sum((x - y) ** 2 for x, y in zip(a, b, strict=True))
    return total if squared else math.sqrt(total)


def nearest(student, anchor, label, labels):
    candidates = [j for j, other in enumerate(labels) if other != label]
    return min(candidates, key=lambda j: (distance(anchor, student[j]), j))


def reference(student, teacher, chosen, margin, squared):
    """The mean over the batch of the hinge of Oki et al."""
    hinges = [
        max(0.0, margin + distance(teacher[i], student[i], squared) - distance(teacher[i], student[n], squared))
        for i, n in enumerate(chosen)
    ]
    return sum(hinges) / len(hinges)


@pytest.mark.parametrize(("squared", "on"), MODES)
@pytest.mark.parametrize("margin", [0.01, 1.0])
def test_hard_triplets_match_the_formula(student, teacher, batch, squared, on, margin):
    method = Triplet(student, teacher, weight=0.5, margin=margin, squared=squared, on=on, negatives="hard")
    (step,) = method.steps(batch)
    ours, theirs = outputs(student(batch.images).logits, on), outputs(method.teacher(batch.images).logits, on)
    labels = batch.labels.tolist()
    chosen = [nearest(ours, anchor, label, labels) for anchor, label in zip(theirs, labels, strict=True)]
    expected = 0.5 * reference(ours, theirs, chosen, margin, squared)
    assert step.losses["triplet"].item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(("squared", "on"), MODES)
def test_random_triplets_match_the_formula(student, teacher, batch, squared, on):
    method = Triplet(student, teacher, weight=0.5, margin=0.3, squared=squared, on=on)
    torch.manual_seed(3)
    (step,) = method.steps(batch)
    torch.manual_seed(3)
    chosen = random_negatives(batch.labels[:, None] != batch.labels).tolist()
    ours, theirs = outputs(student(batch.images).logits, on), outputs(method.teacher(batch.images).logits, on)
    expected = 0.5 * reference(ours, theirs, chosen, 0.3, squared)
    assert step.losses["triplet"].item() == pytest.approx(expected, rel=1e-4)


def test_cross_entropy_keeps_weight_one(student, teacher, batch):
    (step,) = Triplet(student, teacher, weight=7.0).steps(batch)
    log_probabilities = student(batch.images).logits.log_softmax(dim=1)
    torch.testing.assert_close(step.losses["ce"], -log_probabilities[torch.arange(8), batch.labels].mean())


@given(labels=st.lists(st.integers(0, 3), min_size=2, max_size=12).filter(lambda found: len(set(found)) > 1))
def test_negatives_have_another_class(labels):
    classes = torch.tensor(labels)
    other = classes[:, None] != classes
    student, teacher = torch.randn(2, len(labels), 3, generator=torch.Generator().manual_seed(0))
    assert (classes[random_negatives(other)] != classes).all()
    found = hardest_negatives(student, teacher, other).tolist()
    assert found == [nearest(student.tolist(), teacher[i].tolist(), labels[i], labels) for i in range(len(labels))]


def test_of_equally_near_negatives_the_first_is_taken():
    student, teacher = torch.tensor([[9.0], [2.0], [0.0], [2.0]]), torch.ones(4, 1)
    classes = torch.tensor([0, 1, 2, 3])
    assert hardest_negatives(student, teacher, classes[:, None] != classes).tolist() == [1, 2, 1, 1]


def test_random_negatives_are_uniform():
    classes = torch.tensor([0, 0, 1, 2, 3])
    torch.manual_seed(0)
    drawn = torch.stack([random_negatives(classes[:, None] != classes) for _ in range(3000)])
    for row, counts in enumerate(drawn[:, i].bincount(minlength=5) for i in range(5)):
        allowed = [j for j in range(5) if classes[j] != classes[row]]
        assert sum(counts[j].item() for j in allowed) == 3000
        assert all(abs(counts[j].item() / 3000 - 1 / len(allowed)) < 0.04 for j in allowed)


@pytest.mark.parametrize("negatives", ["random", "hard"])
@pytest.mark.parametrize(("squared", "on"), MODES)
def test_a_batch_of_one_class_has_no_triplets(student, teacher, batch, squared, on, negatives):
    method = Triplet(student, teacher, squared=squared, on=on, negatives=negatives)
    (step,) = method.steps(replace(batch, labels=torch.full((8,), 2)))
    assert step.losses["triplet"].item() == 0
    for gradient in torch.autograd.grad(step.losses["triplet"], list(student.parameters())):
        assert not gradient.any()


@pytest.mark.parametrize("squared", [True, False])
def test_a_student_equal_to_the_teacher_has_a_finite_gradient(squared):
    outputs = torch.tensor([[0.2, 0.8], [0.6, 0.4]])
    student = outputs.clone().requires_grad_()
    hinge = triplet_loss(outputs, student, student[[1, 0]], 2.0, squared)
    (gradient,) = torch.autograd.grad(hinge.sum(), student)
    assert gradient.isfinite().all()
    assert gradient.any()


def test_a_sum_does_not_change_the_term(student, teacher, batch):
    configurations = {"margin": 0.5, "negatives": "hard"}
    summed = create(
        ["triplet", "vanilla", "rkd_da"], student=student, teacher=teacher, parameters={"triplet": configurations}
    )
    (step,) = summed.steps(batch)
    (alone,) = create("triplet", student=student, teacher=teacher, **configurations).steps(batch)
    assert step.losses.keys() == {"ce", "triplet", "kl", "distance", "angle"}
    torch.testing.assert_close(step.losses["triplet"], alone.losses["triplet"])


def test_a_batch_of_one_image_is_incompatible(tiny, task):
    ours = shapes(tiny(1))
    assert "needs a batch size of at least 2, got 1" in Triplet.incompatible(ours, ours, replace(task, batch_size=1))
    assert Triplet.incompatible(ours, ours, replace(task, batch_size=2)) is None
