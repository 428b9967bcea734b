"""Spatial maps: which stages of two networks are compared, and what is compared of them."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from kdbench.methods.losses import in_float32

StagePair = tuple[Tensor, Tensor]


@in_float32
def attention_map(stage: Tensor) -> Tensor:
    """Where a stage (B, C, H, W) is active: (B, H * W), the mean over channels of the squares, of unit length.

    Zagoruyko & Komodakis, ICLR 2017, arXiv:1612.03928, Q / ||Q|| of Eq. 2 with p = 2 (a sum over channels has the same
    direction as the mean). A stage of zeros gives zeros.
    """
    return F.normalize(stage.square().mean(dim=1).flatten(1), dim=1)


def aligned(student_stages: Sequence[Tensor], teacher_stages: Sequence[Tensor]) -> list[StagePair]:
    """Pairs (student, teacher) of stages (B, C, H, W) with one H and W, shallow to deep.

    Of k and n stages the last min(k, n) of each are paired; the larger map is average-pooled to the smaller. A pair
    that would have a single pixel says nothing about space and is left out: an MLP has no pairs.
    """
    common = min(len(student_stages), len(teacher_stages))
    last = zip(student_stages[-common:], teacher_stages[-common:], strict=True) if common else ()
    pooled = [_pooled(student, teacher) for student, teacher in last]
    return [pair for pair in pooled if pair[0].shape[2:].numel() > 1]


def _pooled(student: Tensor, teacher: Tensor) -> StagePair:
    size = (min(student.shape[2], teacher.shape[2]), min(student.shape[3], teacher.shape[3]))
    return average_pool(student, size), average_pool(teacher, size)


@in_float32
def average_pool(stage: Tensor, size: tuple[int, int]) -> Tensor:
    """Adaptive average pooling of a stage (B, C, H, W) to (B, C, *size).

    As two matrix products, because torch's own has no deterministic gradient on CUDA.
    """
    if tuple(stage.shape[2:]) == size:
        return stage
    return _averages(stage.shape[2], size[0], stage) @ stage @ _averages(stage.shape[3], size[1], stage).T


def _averages(pixels: int, bins: int, like: Tensor) -> Tensor:
    pixel = torch.arange(pixels, device=like.device)
    place = torch.arange(bins, device=like.device)[:, None]
    inside = (pixel >= place * pixels // bins) & (pixel < ((place + 1) * pixels + bins - 1) // bins)
    return inside.to(like) / inside.sum(dim=1, keepdim=True)
