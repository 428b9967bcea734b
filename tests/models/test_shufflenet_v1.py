import torch
from torch import nn

from kdbench import models


def test_the_published_number_of_parameters_at_100_classes() -> None:
    with torch.device("meta"):
        network = models.build("shufflenetv1", num_classes=100, image_shape=(3, 32, 32))
    assert sum(p.numel() for p in network.parameters()) == 949_258


def test_the_stages() -> None:
    with torch.device("meta"):
        network = models.build("shufflenetv1", num_classes=100, image_shape=(3, 32, 32))
        output = network(torch.empty(2, 3, 32, 32))
    assert [tuple(stage.shape[1:]) for stage in output.stages] == [(240, 16, 16), (480, 8, 8), (960, 4, 4)]
    assert output.embedding.shape == (2, 960)


def test_units_add_or_concatenate_their_input() -> None:
    network = models.build("shufflenetv1", num_classes=10, image_shape=(1, 8, 8)).eval()
    first, other = network.stages[1].first, network.stages[1].others[0]
    for unit in (first, other):
        nn.init.zeros_(unit.residual[-1].weight)
    maps = torch.rand(2, 240, 8, 8)
    halved = first(maps)
    assert torch.equal(halved[:, :240], torch.zeros(2, 240, 4, 4))
    torch.testing.assert_close(halved[:, 240:, 1, 1], maps[:, :, 1:4, 1:4].mean(dim=(2, 3)))
    assert torch.equal(other(halved), halved)


def test_channels_are_shuffled_across_groups() -> None:
    shuffle = next(
        m
        for m in models.build("shufflenetv1", num_classes=10, image_shape=(1, 8, 8)).stages[1].modules()
        if isinstance(m, nn.ChannelShuffle)
    )
    channels = torch.arange(6.0).reshape(1, 6, 1, 1)
    assert shuffle(channels).flatten().tolist() == [0, 2, 4, 1, 3, 5]
