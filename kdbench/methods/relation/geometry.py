"""Distances and angles between the embeddings of a batch (Park et al., CVPR 2019, Eq. 5 to 8)."""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from kdbench.methods.losses import in_float32

MAX_BATCH_AT_ONCE = 256  # images whose B^3 angles are in memory at once
ROUNDING = 1e-6  # a squared distance below this share of the squared lengths is a rounding error of float32
Geometry = tuple[Tensor, Tensor]


@in_float32
def distance_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the mean Huber loss of the B^2 relative distances of embeddings (B, D_s) and (B, D_t) (Eq. 5, 6).

    A relative distance is divided by the mean over pairs of different images, with gradient.
    """
    (student_distances, _), (teacher_distances, _) = _geometry(student), _geometry(teacher)
    return F.smooth_l1_loss(_relative(student_distances), _relative(teacher_distances))


@in_float32
def angle_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the mean Huber loss of the B^3 cosines of the angles at j between i and k (Eq. 7, 8).

    Embeddings are (B, D_s) and (B, D_t). Above 256 images the angles are computed in chunks, and again in the backward
    pass.
    """
    size = len(student)
    geometries, corners = (_geometry(student), _geometry(teacher)), torch.arange(size, device=student.device)
    if size <= MAX_BATCH_AT_ONCE:
        return _angle_sum(corners, *geometries) / size**3
    chunks = torch.split(corners, max(1, MAX_BATCH_AT_ONCE**3 // size**2))
    sums = [
        # nothing in it is random, and the capture of a CUDA graph cannot preserve the state of a generator
        checkpoint(_angle_sum, chunk, *geometries, use_reentrant=False, preserve_rng_state=False)
        for chunk in chunks
    ]
    return torch.stack(sums).sum() / size**3


def _geometry(embedding: Tensor) -> Geometry:
    """Return distances (B, B) and their inverses, both 0 on the diagonal, from the Gram matrix of embeddings (B, D).

    The inverse is also 0 for two images with the same embedding, which have no direction and a gradient of 1 / 0.
    """
    centered = embedding - embedding.mean(dim=0)  # avoids cancellation in the differences below
    gram = centered @ centered.T
    norms = gram.diagonal()
    lengths = norms[:, None] + norms
    squared = lengths - 2 * gram
    distances = squared.clamp(min=1e-12).sqrt()
    different = 1 - torch.eye(len(gram), device=gram.device)
    return distances * different, (squared > ROUNDING * lengths) / distances


def _relative(distances: Tensor) -> Tensor:
    return distances * (len(distances) * (len(distances) - 1)) / distances.sum()


def _angle_sum(corners: Tensor, student: Geometry, teacher: Geometry) -> Tensor:
    return F.smooth_l1_loss(_cosines(corners, *student), _cosines(corners, *teacher), reduction="sum")


def _cosines(corners: Tensor, distances: Tensor, inverse: Tensor) -> Tensor:
    """Return the cosines (J, B, B) at J corners by the law of cosines; 0 where a side has no length."""
    squared = distances.square()
    near, scale = squared[corners], inverse[corners]
    return (near[:, :, None] + near[:, None, :] - squared) / 2 * scale[:, :, None] * scale[:, None, :]
