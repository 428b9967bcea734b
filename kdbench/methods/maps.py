"""Feature maps: the pairs of stages of two networks, pooled to one size, and their attention maps."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from kdbench.methods.losses import in_float32

StagePair = tuple[Tensor, Tensor]


@in_float32
def attention_map(stage: Tensor) -> Tensor:
    """Return the attention map (B, H W) of a stage (B, C, H, W): the mean over channels of the squares, of unit length.

    Zagoruyko & Komodakis, ICLR 2017, arXiv:1612.03928, Q / ||Q|| of Eq. 2 with p = 2 (a sum over channels has the same
    direction as the mean). A stage of zeros gives zeros.
    """
    return F.normalize(stage.square().mean(dim=1).flatten(1), dim=1)


def aligned(student_stages: Sequence[Tensor], teacher_stages: Sequence[Tensor]) -> list[StagePair]:
    """Return pairs (student, teacher) of stages (B, C, H, W) with equal H and W, shallow to deep.

    Of k and n stages the last min(k, n) of each are paired; the larger map is average-pooled to the smaller. A pair
    of single pixels is left out, so that an MLP has no pairs.
    """
    common = min(len(student_stages), len(teacher_stages))
    last = zip(student_stages[-common:], teacher_stages[-common:], strict=True) if common else ()
    pooled = [_pool_pair(student, teacher) for student, teacher in last]
    return [pair for pair in pooled if pair[0].shape[2:].numel() > 1]


def _pool_pair(student: Tensor, teacher: Tensor) -> StagePair:
    size = (min(student.shape[2], teacher.shape[2]), min(student.shape[3], teacher.shape[3]))
    return average_pool(student, size), average_pool(teacher, size)


@in_float32
def average_pool(stage: Tensor, size: tuple[int, int]) -> Tensor:
    """Return a stage (B, C, H, W) average-pooled to (B, C, *size).

    It is computed by two matrix products, since the adaptive pooling of torch has no deterministic gradient on CUDA.
    """
    if tuple(stage.shape[2:]) == size:
        return stage
    return _pooling_matrix(stage.shape[2], size[0], stage) @ stage @ _pooling_matrix(stage.shape[3], size[1], stage).T


def _pooling_matrix(pixels: int, bins: int, like: Tensor) -> Tensor:
    pixel = torch.arange(pixels, device=like.device)
    index = torch.arange(bins, device=like.device)[:, None]
    is_inside = (pixel >= index * pixels // bins) & (pixel < ((index + 1) * pixels + bins - 1) // bins)
    return is_inside.to(like) / is_inside.sum(dim=1, keepdim=True)
