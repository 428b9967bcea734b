"""Losses that methods share. They compute in float32 with autocast off, whatever the precision of the networks."""

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar, cast

import torch.nn.functional as F
from torch import Tensor

from kdbench.training.precision import without_autocast

P = ParamSpec("P")
R = TypeVar("R")


def in_float32(function: Callable[P, R]) -> Callable[P, R]:
    """Decorate a function to run with autocast off and its floating-point tensors in float32."""

    def upcast(value: object) -> object:
        return value.float() if isinstance(value, Tensor) and value.is_floating_point() else value

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        with without_autocast("cpu"), without_autocast("cuda"):
            positional = [upcast(a) for a in args]
            named = {k: upcast(v) for k, v in kwargs.items()}
            return cast("Callable[..., R]", function)(*positional, **named)

    return wrapped


@in_float32
def cross_entropy(logits: Tensor, labels: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Return the cross-entropy of logits (B, K) with labels (B,), averaged over the batch."""
    return F.cross_entropy(logits, labels, label_smoothing=label_smoothing)


@in_float32
def kd_loss(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """Return T^2 KL(softmax(z_t / T) || softmax(z_s / T)) of logits (B, K) (arXiv:1503.02531).

    It is summed over classes and averaged over the batch. T^2 restores the size of the gradient, which shrinks like
    1 / T^2.
    """
    return temperature**2 * kl_divergence(student_logits / temperature, teacher_logits / temperature)


@in_float32
def kl_divergence(student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """Return KL(softmax(z_t) || softmax(z_s)) of logits (B, K), summed over classes and averaged over the batch."""
    return F.kl_div(
        F.log_softmax(student_logits, dim=1),
        F.log_softmax(teacher_logits, dim=1),
        reduction="batchmean",
        log_target=True,
    )
