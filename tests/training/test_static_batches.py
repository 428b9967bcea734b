"""Batches and teacher outputs that stay in the same tensors."""

import torch

from kdbench.training.cuda_graphs import WARM_UP
from kdbench.training.method import Batch
from kdbench.training.network import Frozen
from kdbench.training.static_batches import GraphedTeacher, StaticBatches


class Views:
    """Three batches of two images, each with two views."""

    def epoch(self, epoch, epochs):
        for position in range(3):
            images = torch.full((2, 1, 2, 2), 10.0 * epoch + position)
            labels = torch.tensor([position, epoch])
            yield Batch(images, labels, labels + 1, position / 3, (images, -images), (position + 1) / 7)


def test_batches_are_copied_into_the_same_tensors():
    static, seen = StaticBatches(Views()), []
    for epoch in range(2):
        for ours, theirs in zip(static.epoch(epoch, 2), Views().epoch(epoch, 2), strict=True):
            assert (ours.progress, ours.share) == (theirs.progress, theirs.share)
            assert ours.views[0] is ours.images
            for name in ("images", "labels", "indices"):
                assert torch.equal(getattr(ours, name), getattr(theirs, name))
            assert all(torch.equal(a, b) for a, b in zip(ours.views, theirs.views, strict=True))
            seen.append((ours.images, ours.labels, ours.indices, ours.views[1]))
    assert all(tensor is first for tensors in seen for tensor, first in zip(tensors, seen[0], strict=True))


def test_the_tensors_of_the_source_are_not_modified():
    batches = [batch for _ in range(2) for batch in Views().epoch(0, 1)]

    class Repeated:
        def epoch(self, epoch, epochs):
            yield from batches

    list(StaticBatches(Repeated()).epoch(0, 1))
    assert all(torch.equal(one.images, other.images) for one, other in zip(batches, batches[3:], strict=False))


def test_the_only_view_of_a_batch_without_views_is_its_images():
    images = torch.ones(1, 1, 2, 2)
    bare = [Batch(images * size, torch.tensor([size]), torch.tensor([0]), 0.0) for size in (1, 2)]

    class Bare:
        def epoch(self, epoch, epochs):
            yield from bare

    assert [batch.views[0].max().item() for batch in StaticBatches(Bare()).epoch(0, 1)] == [1, 2]


def test_batches_may_have_no_images():
    images = torch.empty(0, 1, 2, 2)
    empty = Batch(images, torch.empty(0, dtype=torch.int64), torch.empty(0, dtype=torch.int64), 0.0, (images,))

    class Empty:
        def epoch(self, epoch, epochs):
            yield from (empty, empty)

    assert [len(batch.images) for batch in StaticBatches(Empty()).epoch(0, 1)] == [0, 0]


def test_a_graphed_teacher_returns_the_same_tensors(tiny, batches, recorder):
    teacher, plain, one = Frozen(tiny(1)), Frozen(tiny(1)), recorder()
    graphed, static, outputs = GraphedTeacher(teacher, one), StaticBatches(batches), []
    for epoch in range(2):
        for position, batch in enumerate(static.epoch(epoch, 2)):
            teacher.clear_cache()
            graphed.forward(batch.images, epoch, position)
            output = teacher(batch.images)
            assert torch.equal(output.logits, plain.network(batch.images).logits)
            outputs.append(output.logits)
    assert one.events.count("recorded") == 1
    assert len({id(logits) for logits in outputs[WARM_UP:]}) == 1
    assert len({id(logits) for logits in outputs[: WARM_UP + 1]}) == WARM_UP + 1


def test_a_teacher_that_cannot_be_captured_runs_eagerly(tiny, batches, recorder):
    """The capture is attempted only once, because of its cost."""

    def synchronize(module, arguments):
        assert arguments[0].sum().item() != 0

    teacher, one = Frozen(tiny(1)), recorder()
    teacher.network.register_forward_pre_hook(synchronize)
    graphed, static, failed = GraphedTeacher(teacher, one), StaticBatches(batches), []
    for epoch in range(2):
        for position, batch in enumerate(static.epoch(epoch, 2)):
            teacher.clear_cache()
            try:
                graphed.forward(batch.images, epoch, position)
            except RuntimeError as error:
                failed.append((4 * epoch + position, "capturing" in str(error)))
            assert torch.equal(teacher(batch.images).logits, teacher.network(batch.images).logits)
    assert failed == [(WARM_UP, True)]
    assert "recorded" not in one.events
