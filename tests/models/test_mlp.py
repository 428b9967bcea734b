import torch

from kdbench import models


def test_a_stage_per_hidden_layer_and_the_last_is_the_embedding() -> None:
    network = models.build("mlp_7_5", num_classes=3, image_shape=(1, 4, 4))
    images = torch.randn(2, 1, 4, 4)
    output = network(images)
    assert [tuple(s.shape) for s in output.stages] == [(2, 7, 1, 1), (2, 5, 1, 1)]
    assert torch.equal(output.embedding, output.stages[1].flatten(1))
    first = network.stages[0].linear
    torch.testing.assert_close(output.preacts[0].flatten(1), images.flatten(1) @ first.weight.T + first.bias)


def test_the_number_of_parameters() -> None:
    network = models.build("mlp_32_16", num_classes=10, image_shape=(1, 8, 8))
    assert sum(p.numel() for p in network.parameters()) == 65 * 32 + 33 * 16 + 17 * 10


def test_hidden_layers_are_kaiming_normal() -> None:
    torch.manual_seed(0)
    linear = models.build("mlp_500", num_classes=10, image_shape=(1, 20, 20)).stages[0].linear
    assert abs(linear.weight.std().item() - (2 / 400) ** 0.5) < 1e-3
    assert linear.bias.abs().max() == 0
