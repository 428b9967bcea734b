"""Steps captured as a CUDA graph give the same numbers as steps that are not."""

from dataclasses import replace

import pytest
import torch

from kdbench.matrix.recipe import Cosine, Recipe, Sgd
from kdbench.training import optimizer
from kdbench.training.loop import CohortLoop
from kdbench.training.member import Member
from kdbench.training.network import Frozen
from kdbench.training.static_batches import GraphedTeacher, StaticBatches

NOT_CAPTURED = {
    "nuclear_norm": "the host waits for the singular values",
    "fitnets, two stages": "depends on `progress`",
    "snapshot": "counts its cycles in Python",
}


class Varied:
    """Epochs of five batches that differ, each with two views."""

    def __init__(self, batch):
        self.batch = batch

    def epoch(self, epoch, epochs):
        for position in range(5):
            order = torch.randperm(8, generator=torch.Generator().manual_seed(5 * epoch + position))
            images = self.batch.images[order] * (1 + 0.1 * position)
            yield replace(
                self.batch,
                images=images,
                labels=self.batch.labels[order],
                indices=8 * position + order,
                progress=(epoch + position / 5) / epochs,
                views=(images, images.flip(3)),
            )


@pytest.fixture
def train(build, tiny, batch, monkeypatch):
    """`train(parts, precision, recorder)`: a member that has trained for two epochs."""
    monkeypatch.setattr(optimizer, "GRAPH_DEVICES", {"cpu"})

    def trained(parts, precision, recorder=None):
        recipe = Recipe(epochs=2, precision=precision, optimizer=Sgd(lr=1e-3), schedule=Cosine())
        teacher = Frozen(tiny(2, (6, 8, 12)))
        member = Member("", build(parts, teacher), recipe, 1, recorder and recorder())
        forwards = {teacher: GraphedTeacher(teacher, recorder())} if recorder else None
        CohortLoop(
            [member], StaticBatches(Varied(batch)), [teacher], lambda one: {}, lambda epoch, members: None, forwards
        ).train(2)
        assert member.error is None
        return member

    return trained


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_captured_steps_equal_plain_steps(train, parts, precision, recorder):
    """On batches and learning rates that change, with a teacher that is captured too."""
    plain, recorded = train(parts, precision), train(parts, precision, recorder)
    assert recorded.is_captured == recorded.method.cuda_graph_safe
    for networks in ("players", "deployed"):
        pairs = zip(
            getattr(plain.method, networks)().values(), getattr(recorded.method, networks)().values(), strict=True
        )
        for one, other in pairs:
            assert all(torch.equal(other.state_dict()[key], value) for key, value in one.state_dict().items())
    assert [without_time(row) for row in plain.history] == [without_time(row) for row in recorded.history]


def without_time(row):
    return {key: value for key, value in row.items() if key != "seconds"}


def test_a_method_is_cuda_graph_safe_unless_there_is_a_reason(build, teacher, parts, request):
    name = request.node.callspec.id
    reasons = [why for start, why in NOT_CAPTURED.items() if name.startswith(start)]
    assert build(parts, teacher).cuda_graph_safe == (reasons == [])
