"""How fast this processor's bf16 convolutions are: some builds of oneDNN fall back to slow reference code."""

import time
from collections.abc import Callable

import torch

CHANNELS, SIDE, IMAGES = 16, 16, 8  # 28 million operations forward and backward: a fraction of a millisecond
REPEATS = 5
HOPELESS = 100.0  # a first measurement that is this much slower is not repeated


def measure_bf16_ratio() -> float:
    """Return the time of a small bf16 convolution, forward and backward, relative to the same in float32, on the CPU.

    It is the ratio of the shortest of five times each, which other load on the machine hardly changes. With code for
    bf16 it is about 0.5 to 1.5, with reference code over 10.
    """
    bf16, fp32 = _convolution(torch.bfloat16), _convolution(torch.float32)
    ratio = _seconds(bf16) / _seconds(fp32)
    if ratio > HOPELESS:
        return ratio
    times = [(_seconds(bf16), _seconds(fp32)) for _ in range(REPEATS)]
    return min(time for time, _ in times) / min(time for _, time in times)


def _convolution(dtype: torch.dtype) -> Callable[[], None]:
    """Return a function that convolves channels-last maps forward and backward; it has run once."""

    def make(*shape: int) -> torch.Tensor:
        values = torch.ones(shape, dtype=dtype).contiguous(memory_format=torch.channels_last)
        return values.requires_grad_()

    maps, weight = make(IMAGES, CHANNELS, SIDE, SIDE), make(CHANNELS, CHANNELS, 3, 3)

    def run() -> None:
        with torch.enable_grad():
            total = torch.nn.functional.conv2d(maps, weight, padding=1)
            torch.autograd.grad(total, (maps, weight), torch.ones_like(total))

    run()
    return run


def _seconds(run: Callable[[], None]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start
