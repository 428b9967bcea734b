"""The alignment of stages and the attention map."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from kdbench.methods.maps import aligned, attention_map, average_pool


def test_attention_map_is_the_formula():
    stage = torch.randn(2, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    for image, row in zip(stage.tolist(), attention_map(stage).tolist(), strict=True):
        squares = [sum(image[c][h][w] ** 2 for c in range(3)) for h in range(2) for w in range(2)]
        length = math.sqrt(sum(s * s for s in squares))
        assert row == pytest.approx([s / length for s in squares], rel=1e-5)


@given(scale=st.floats(0.1, 10), seed=st.integers(0, 1000))
def test_attention_map_has_unit_length_and_does_not_depend_on_the_scale(scale, seed):
    stage = torch.randn(3, 4, 3, 5, generator=torch.Generator().manual_seed(seed))
    found = attention_map(stage)
    assert found.shape == (3, 15)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(3))
    torch.testing.assert_close(attention_map(scale * stage), found)


def test_attention_map_of_zeros_has_a_finite_gradient():
    stage = torch.zeros(1, 2, 2, 2, requires_grad=True)
    found = attention_map(stage)
    (gradient,) = torch.autograd.grad(found.sum(), stage)
    assert found.tolist() == [[0.0] * 4]
    assert gradient.isfinite().all()


def test_attention_map_is_computed_in_float32_under_autocast():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = attention_map(torch.ones(1, 2, 2, 2, dtype=torch.bfloat16))
    assert found.dtype == torch.float32
    assert found.tolist() == [[0.5] * 4]


def test_the_last_stages_are_paired_and_the_larger_pooled():
    student = [torch.randn(2, 3, 8, 8), torch.randn(2, 4, 4, 4)]
    teacher = [torch.randn(2, 5, 16, 16), torch.randn(2, 6, 4, 8), torch.randn(2, 7, 4, 4)]
    first, second = aligned(student, teacher)
    assert first[0].shape == (2, 3, 4, 8)
    assert first[1] is teacher[1]
    torch.testing.assert_close(first[0][:, :, 0, 0], student[0][:, :, :2, 0].mean(dim=2))
    assert second[0] is student[1]
    assert second[1] is teacher[2]
    for (one, two), (other, another) in zip(aligned(teacher, student), (first, second), strict=True):
        assert torch.equal(one, another)
        assert torch.equal(two, other)


def test_pairs_of_single_pixels_are_left_out():
    flat, maps = torch.randn(2, 3, 1, 1), torch.randn(2, 3, 4, 4)
    assert aligned([flat, flat], [maps, maps]) == []
    assert aligned([maps], [flat]) == []
    assert len(aligned([maps, flat], [maps, flat])) == 1


def test_networks_without_stages_have_no_pairs():
    assert aligned([], [torch.randn(2, 3, 4, 4)]) == []
    assert aligned((), ()) == []


@given(old=st.tuples(st.integers(1, 12), st.integers(1, 12)), new=st.tuples(st.integers(1, 12), st.integers(1, 12)))
def test_average_pool_is_adaptive_average_pooling(old, new):
    stage = torch.randn(2, 3, *old, generator=torch.Generator().manual_seed(0), requires_grad=True)
    found, expected = average_pool(stage, new), F.adaptive_avg_pool2d(stage, new)
    torch.testing.assert_close(found, expected)
    weights = torch.arange(expected.numel()).reshape(expected.shape) / expected.numel()
    gradients = [torch.autograd.grad((weights * pooled).sum(), stage)[0] for pooled in (found, expected)]
    torch.testing.assert_close(*gradients)
