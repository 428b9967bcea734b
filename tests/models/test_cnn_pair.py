import pytest
import torch

from kdbench import models


@pytest.mark.parametrize(
    ("name", "convolutions", "layers"),
    [
        ("cnn_teacher", [3, 32, 32, 64, 64, 128], [2048, 512, 128, 10]),
        ("cnn_student", [3, 32, 32, 64], [1024, 128, 10]),
    ],
)
def test_the_widths_of_all_layers(name: str, convolutions: list[int], layers: list[int]) -> None:
    network = models.build(name, num_classes=10, image_shape=(3, 32, 32))
    convolved = [m for m in network.modules() if isinstance(m, torch.nn.Conv2d)]
    linear = [m for m in network.modules() if isinstance(m, torch.nn.Linear)]
    assert [convolved[0].in_channels, *(m.out_channels for m in convolved)] == convolutions
    assert [linear[0].in_features, *(m.out_features for m in linear)] == layers
    assert all(m.kernel_size == (3, 3) for m in convolved)
    assert [m.p for m in network.modules() if isinstance(m, torch.nn.Dropout)] == [0.5] * (len(layers) - 2)
    assert all(m.bias is not None for m in convolved)
    norms = sum(isinstance(m, torch.nn.BatchNorm2d) for m in network.modules())
    assert norms == (len(convolved) if name == "cnn_teacher" else 0)


@pytest.mark.parametrize(("name", "parameters"), [("cnn_teacher", 1_256_106), ("cnn_student", 161_130)])
def test_the_printed_number_of_parameters(name: str, parameters: int) -> None:
    network = models.build(name, num_classes=10, image_shape=(3, 32, 32))
    assert sum(p.numel() for p in network.parameters()) == parameters


@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        ("cnn_teacher", [(32, 32, 32), (64, 16, 16), (128, 8, 8)]),
        ("cnn_student", [(32, 32, 32), (32, 16, 16), (64, 8, 8)]),
    ],
)
def test_teacher_and_student_have_maps_of_equal_size(name: str, shapes: list[tuple[int, int, int]]) -> None:
    network = models.build(name, num_classes=10, image_shape=(3, 32, 32))
    output = network(torch.randn(2, 3, 32, 32))
    assert [tuple(stage.shape[1:]) for stage in output.stages] == shapes
    assert output.embedding.shape == (2, 128)


@pytest.mark.parametrize(("side", "cells"), [(13, 16), (28, 16), (32, 16), (64, 16), (224, 16), (8, 4), (4, 1), (1, 1)])
def test_the_fully_connected_layers_see_at_most_4x4(side: int, cells: int) -> None:
    with torch.device("meta"):
        network = models.build("cnn_student", num_classes=10, image_shape=(1, side, side))
    assert network.pool[2].in_features == 64 * cells


def test_dropout_is_active_only_in_training() -> None:
    torch.manual_seed(0)
    network, images = models.build("cnn_student", num_classes=3, image_shape=(1, 8, 8)), torch.randn(4, 1, 8, 8)
    network.train()
    assert not torch.equal(network(images).logits, network(images).logits)
    network.eval()
    assert torch.equal(network(images).logits, network(images).logits)


def test_the_embedding_is_read_before_the_dropout() -> None:
    torch.manual_seed(0)
    network, images = models.build("cnn_student", num_classes=3, image_shape=(1, 8, 8)).train(), torch.randn(4, 1, 8, 8)
    first, second = network(images), network(images)
    assert torch.equal(first.embedding, second.embedding)
    assert not torch.equal(first.logits, second.logits)
    network.eval()
    torch.testing.assert_close(network(images).logits, network.head(network(images).embedding))
