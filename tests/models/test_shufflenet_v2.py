import torch

from kdbench import models


def test_the_published_number_of_parameters_at_100_classes() -> None:
    with torch.device("meta"):
        network = models.build("shufflenetv2", num_classes=100, image_shape=(3, 32, 32))
    assert sum(p.numel() for p in network.parameters()) == 1_355_528


def test_the_stages() -> None:
    with torch.device("meta"):
        network = models.build("shufflenetv2", num_classes=100, image_shape=(3, 32, 32))
        output = network(torch.empty(2, 3, 32, 32))
    assert [tuple(stage.shape[1:]) for stage in output.stages] == [(116, 16, 16), (232, 8, 8), (464, 4, 4)]
    assert output.embedding.shape == (2, 1024)


def test_a_unit_changes_only_the_second_half_of_its_channels() -> None:
    unit = models.build("shufflenetv2", num_classes=10, image_shape=(1, 8, 8)).eval().stages[0].others[0]
    maps = torch.rand(2, 116, 4, 4)
    found, preact = unit(maps)
    assert torch.equal(found[:, 0::2], maps[:, :58])
    assert torch.equal(found[:, 1::2], unit.residual(maps[:, 58:]).relu())
    assert torch.equal(preact.relu(), found)
