"""The logits of a trained network and its costs: parameters, operations, inference time."""

import statistics
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn

from kdbench.training.flops import make_flop_counter
from kdbench.training.network import Frozen
from kdbench.training.precision import full_precision

PROBABILITY_METRICS = ("nll", "ece")  # those that depend on the scale of the logits
TIME_LIMIT = 5.0  # seconds for timing one batch size
MIN_REPEATS = 3  # timed forward passes of a network that exceeds the time limit
REPEATS = 20  # timed forward passes of any other network, at least


@torch.no_grad()
def compute_logits(network: nn.Module, batches: Iterable[Tensor]) -> Tensor:
    """Return the logits (N, K) of all batches in eval mode and in float32, whatever trained, on the CPU.

    Neither autocast nor TF32 is used.

    Args:
        network: any network; its mode (training or eval) is restored.
        batches: images, each batch (B, C, H, W).
    """
    with _evaluation_mode(network), full_precision(network):
        logits = [network(images).logits.float() for images in batches]
    return torch.cat(logits).cpu()


def drop_probability_metrics(scores: Mapping[str, float]) -> dict[str, float]:
    """Return scores such as "val_nll" without NLL and ECE, which mean nothing for a method that is not calibrated."""
    return {name: value for name, value in scores.items() if name.rpartition("_")[2] not in PROBABILITY_METRICS}


@contextmanager
def _evaluation_mode(network: nn.Module) -> Iterator[None]:
    """Set eval mode without torch.compile; restore the mode and clear the caches of frozen parts at the end."""
    training = network.training
    network.eval()
    try:
        with _without_compile():
            yield
    finally:
        network.train(training)
        for module in network.modules():
            if isinstance(module, Frozen):
                module.clear_cache()


def _without_compile() -> AbstractContextManager[object]:
    """Disable torch.compile. Setting the stance imports the compiler; before that import nothing is compiled."""
    return torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else nullcontext()


def count_parameters(network: nn.Module) -> int:
    """Return the number of parameters, shared ones counted once."""
    return sum(p.numel() for p in network.parameters())


@torch.no_grad()
def count_flops(network: nn.Module, image_shape: tuple[int, int, int]) -> int:
    """Return the operations of the convolutions and matrix products for one image (a multiply-add counts as two)."""
    device = next(network.parameters()).device
    counter = make_flop_counter()
    with _evaluation_mode(network), counter:
        network(torch.zeros(1, *image_shape, device=device))
    return counter.get_total_flops()


@final
@dataclass(frozen=True)
class Timing:
    """The inference time of one batch, in milliseconds."""

    median_ms: float
    p95_ms: float


@torch.no_grad()
def time_inference(
    network: nn.Module, image_shape: tuple[int, int, int], batch_size: int, seconds: float = 0.25
) -> Timing:
    """Time the forward pass of a network in float32 and eval mode, after warm-up.

    The forward pass is repeated for about `seconds`, at least 20 times. A network that is too slow for that is timed
    for 5 s, at least 3 times.
    """
    images = torch.randn(batch_size, *image_shape, device=next(network.parameters()).device)
    times_ms: list[float] = []
    with _evaluation_mode(network), full_precision(network):
        is_slow = _time_forward(network, images) > TIME_LIMIT * 1000 / 25
        for _ in range(1 if is_slow else 4):
            _time_forward(network, images)
        while _needs_more(times_ms, seconds):
            times_ms.append(_time_forward(network, images))
    return Timing(statistics.median(times_ms), statistics.quantiles(times_ms, n=20, method="inclusive")[-1])


def _needs_more(times_ms: Sequence[float], seconds: float) -> bool:
    if len(times_ms) < REPEATS:
        return len(times_ms) < MIN_REPEATS or sum(times_ms) < TIME_LIMIT * 1000
    return sum(times_ms) < seconds * 1000


def _time_forward(network: nn.Module, images: Tensor) -> float:
    started = time.perf_counter()
    network(images)
    if images.is_cuda:
        torch.cuda.synchronize(images.device)
    return (time.perf_counter() - started) * 1000


def measure_inference(network: nn.Module, image_shape: tuple[int, int, int]) -> dict[str, float]:
    """Return the inference columns of a result: times in ms at batch sizes 1 and 256, throughput in images/s at 256."""
    one, many = time_inference(network, image_shape, 1), time_inference(network, image_shape, 256)
    return {
        "inference_ms": one.median_ms,
        "inference_ms_p95": one.p95_ms,
        "inference_ms_256": many.median_ms,
        "inference_ms_256_p95": many.p95_ms,
        "throughput": 256_000 / many.median_ms,
    }
