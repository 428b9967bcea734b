"""The regressor reaches every size that it promises."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from kdbench.errors import MethodError
from kdbench.methods.modules import regressor

SIDE = st.integers(1, 9)


@given(small=st.tuples(SIDE, SIDE), growth=st.tuples(st.integers(0, 9), st.integers(0, 9)), grow=st.booleans())
def test_maps_get_the_shape_of_the_target(small, growth, grow):
    large = (small[0] + growth[0], small[1] + growth[1])
    source, target = (small, large) if grow else (large, small)
    found = regressor((2, *source), (3, *target))(torch.randn(2, 2, *source))
    assert found.shape == (2, 3, *target)
    assert (found >= 0).all()


@pytest.mark.parametrize(
    ("source", "target", "kind", "stride", "kernel"),
    [
        ((4, 8, 8), (6, 4, 4), nn.Conv2d, (2, 2), (3, 3)),
        ((4, 4, 4), (6, 8, 8), nn.ConvTranspose2d, (2, 2), (4, 4)),
        ((4, 8, 8), (6, 8, 8), nn.Conv2d, (1, 1), (1, 1)),
        ((4, 8, 8), (6, 6, 5), nn.Conv2d, (1, 1), (3, 4)),
        ((4, 6, 5), (6, 8, 8), nn.ConvTranspose2d, (1, 1), (3, 4)),
    ],
)
def test_the_convolution_follows_the_sizes(source, target, kind, stride, kernel):
    convolution, norm, activation = regressor(source, target)
    assert type(convolution) is kind
    assert (convolution.stride, convolution.kernel_size) == (stride, kernel)
    assert isinstance(norm, nn.BatchNorm2d)
    assert isinstance(activation, nn.ReLU)


def test_higher_and_narrower_is_refused():
    with pytest.raises(MethodError, match="got 4x8 to 8x4; compare stages of similar proportions"):
        regressor((2, 4, 8), (2, 8, 4))
