import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kdbench import models


def maps(name: str, side: int) -> list[int]:
    with torch.device("meta"):
        network = models.build(name, num_classes=10, image_shape=(3, side, side))
        return [stage.shape[-1] for stage in network(torch.empty(2, 3, side, side)).stages]


@pytest.mark.parametrize(("name", "parameters"), [("cnn_32_64_fc128", 151_402), ("cnn_8_16", 3_842)])
def test_the_number_of_parameters_on_digits(name: str, parameters: int) -> None:
    network = models.build(name, num_classes=10, image_shape=(1, 8, 8))
    assert sum(p.numel() for p in network.parameters()) == parameters


def test_maps_are_halved_down_to_4x4() -> None:
    assert maps("cnn_4_8_16_16", 32) == [32, 16, 8, 4]
    assert maps("cnn_4_8_16_16", 8) == [8, 4, 4, 4]
    assert maps("cnn_4_8", 3) == [3, 3]


@pytest.mark.parametrize(
    ("side", "cells"), [(224, 4), (32, 4), (28, 4), (17, 4), (16, 16), (10, 9), (8, 16), (3, 9), (1, 1)]
)
def test_the_classifier_sees_a_2x2_map_or_4x4_for_small_images(side: int, cells: int) -> None:
    network = models.build("cnn_4_8", num_classes=10, image_shape=(3, side, side)).eval()
    output = network(torch.randn(2, 3, side, side))
    assert output.embedding.shape == (2, 8 * cells)
    assert 0 < output.embedding.max() <= output.stages[-1].max()


@given(st.integers(17, 100), st.integers(1, 100), st.sampled_from(["cnn_2", "cnn_2_3", "cnn_2_2_3"]))
def test_the_classifier_of_larger_images_sees_at_most_2x2(height: int, width: int, name: str) -> None:
    with torch.device("meta"):
        network = models.build(name, num_classes=2, image_shape=(1, height, width))
        cells = network.pool[0](network(torch.empty(1, 1, height, width)).stages[-1])
    assert max(cells.shape[2:]) <= 2


def test_the_fully_connected_layer_is_the_embedding() -> None:
    network = models.build("cnn_4_fc6", num_classes=3, image_shape=(1, 8, 8)).eval()
    embedding = network(torch.randn(5, 1, 8, 8)).embedding
    assert embedding.shape == (5, 6)
    assert embedding.min() == 0
