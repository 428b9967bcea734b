"""A trained network's logits, and what it costs: parameters, operations, time."""

import statistics
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from kdbench.training.network import Frozen
from kdbench.training.precision import autocast

PATIENCE = 10.0  # seconds for the timing of one batch size


@torch.no_grad()
def logits_of(network: nn.Module, batches: Iterable[Tensor], precision: str) -> Tensor:
    """The logits (N, K) of all batches, float32 on the CPU; the network is left in the mode it was in."""
    with _evaluating(network), autocast(network, precision):
        found = [network(images).logits.float() for images in batches]
    return torch.cat(found).cpu()


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    """Eval mode, and nothing compiled; outside the mode of before. No frozen part remembers what it was shown."""
    training = network.training
    network.eval()
    try:
        with torch.compiler.set_stance("force_eager"):
            yield
    finally:
        network.train(training)
        for module in network.modules():
            if isinstance(module, Frozen):
                module.clear_cache()


def parameter_count(network: nn.Module) -> int:
    """How many parameters a network has, each counted once."""
    return sum(p.numel() for p in network.parameters())


@torch.no_grad()
def flops(network: nn.Module, image_shape: tuple[int, int, int]) -> int:
    """Floating-point operations of one image's forward pass (a multiplication and an addition are two)."""
    device = next(network.parameters()).device
    counter = FlopCounterMode(display=False)
    with _evaluating(network), counter:
        network(torch.zeros(1, *image_shape, device=device))
    return counter.get_total_flops()


@final
@dataclass(frozen=True)
class Timing:
    """How long one batch takes, in milliseconds."""

    median_ms: float
    p95_ms: float


@torch.no_grad()
def time_inference(
    network: nn.Module, image_shape: tuple[int, int, int], batch_size: int, seconds: float = 0.5
) -> Timing:
    """Time a network's forward pass in float32, eval mode: warmed up, then for about `seconds`, at least 20 times.

    Where 20 would take longer than `PATIENCE`, as many as fit into it, at least 3.
    """
    images = torch.randn(batch_size, *image_shape, device=next(network.parameters()).device)
    taken: list[float] = []
    with _evaluating(network):
        slow = _timed(network, images) > PATIENCE * 1000 / 25
        for _ in range(1 if slow else 4):
            _timed(network, images)
        while _too_few(taken, seconds):
            taken.append(_timed(network, images))
    return Timing(statistics.median(taken), statistics.quantiles(taken, n=20, method="inclusive")[-1])


def _too_few(taken: Sequence[float], seconds: float) -> bool:
    if len(taken) < 20:
        return len(taken) < 3 or sum(taken) < PATIENCE * 1000
    return sum(taken) < seconds * 1000


def _timed(network: nn.Module, images: Tensor) -> float:
    started = time.perf_counter()
    network(images)
    if images.is_cuda:
        torch.cuda.synchronize(images.device)
    return (time.perf_counter() - started) * 1000


def inference_columns(network: nn.Module, image_shape: tuple[int, int, int]) -> dict[str, Any]:
    """The columns of a result that tell a deployed network's speed; throughput in images a second at batch 256."""
    one, many = time_inference(network, image_shape, 1), time_inference(network, image_shape, 256)
    return {
        "inference_ms": one.median_ms,
        "inference_ms_p95": one.p95_ms,
        "inference_ms_256": many.median_ms,
        "inference_ms_256_p95": many.p95_ms,
        "throughput": 256_000 / many.median_ms,
    }
