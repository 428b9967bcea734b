"""The precisions bf16, tf32 and fp32: which one the hardware supports, and the settings of torch for it.

fp32 is IEEE float32: convolutions and matrix products of float32 tensors use TF32 only inside `tf32_as_in` with "tf32".
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from kdbench.errors import KdbenchError
from kdbench.training.bf16_speed import measure_bf16_ratio

Precision = Literal["auto", "bf16", "fp32", "tf32"]

SLOW_RATIO = 5.0  # between those of native code (at most 1.5) and of reference code (at least 10)


def resolve_precision(
    precision: Precision, measure: Callable[[], float] = measure_bf16_ratio
) -> Literal["bf16", "fp32", "tf32"]:
    """Return the precision that "auto" stands for: bf16 if the GPU, or the CPU without one, supports it natively.

    On a CPU whose bf16 convolutions fall back to slow reference code it is fp32.

    Args:
        precision: the precision.
        measure: returns the time of a bf16 convolution on the CPU relative to float32; called only if that decides.

    Raises:
        KdbenchError: the precision is "tf32", and there is no GPU that supports it.
    """
    if precision == "tf32" and not _has_tf32():
        raise KdbenchError(
            'precision "tf32" needs a GPU with TF32 (compute capability 8.0 or higher), and none was found; use '
            '"fp32", "bf16" or "auto"'
        )
    if precision != "auto":
        return precision
    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return "bf16" if _cpu_has_bf16() and not is_bf16_slow(measure) else "fp32"


def is_bf16_slow(measure: Callable[[], float]) -> bool:
    """Return whether the runs train on a CPU that has bf16, but whose bf16 convolutions are slow reference code.

    Args:
        measure: as for `resolve_precision`.
    """
    return not torch.cuda.is_available() and _cpu_has_bf16() and measure() >= SLOW_RATIO


def check_device(precision: str, device: torch.device) -> None:
    """Check that a device has a precision.

    Raises:
        KdbenchError: the precision is "tf32", and the device is not a GPU.
    """
    if precision == "tf32" and device.type != "cuda":
        raise KdbenchError(
            f'precision "tf32" needs a GPU, but the runs are to train on the device "{device.type}"; use "fp32" or '
            '"bf16", or set run.devices = "auto"'
        )


def _has_tf32() -> bool:
    return torch.cuda.is_available() and torch.cuda.get_device_capability() >= (8, 0)


def _cpu_has_bf16() -> bool:
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False
    return "bf16" in flags  # avx512_bf16 and amx_bf16 on x86, bf16 on ARM


def autocast(device: str, precision: str) -> AbstractContextManager[object]:
    """Return the autocast context for a device such as "cpu"; it is enabled for the precision "bf16" only."""
    return torch.autocast(device, dtype=torch.bfloat16) if precision == "bf16" else without_autocast(device)


def without_autocast(device: str) -> AbstractContextManager[object]:
    """Return a context in which autocast is disabled on a device.

    Where it is disabled already this does nothing: a context of torch takes as long as an operation on a small tensor.
    """
    return torch.autocast(device, enabled=False) if torch.is_autocast_enabled(device) else nullcontext()


def allow_tf32(allowed: bool) -> None:
    """Set whether convolutions and matrix products of float32 tensors on a GPU may use TF32.

    torch 2.9 has new settings, and raises errors where these and the old ones disagree: both are set.
    """
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = allowed
    for operation in _new_settings():
        operation.fp32_precision = "tf32" if allowed else "ieee"


def is_tf32_allowed() -> bool:
    """Return whether convolutions or matrix products of float32 tensors on a GPU may use TF32."""
    if settings := _new_settings():
        return any(operation.fp32_precision == "tf32" for operation in settings)
    return torch.backends.cuda.matmul.allow_tf32 or torch.backends.cudnn.allow_tf32


def _new_settings() -> list[Any]:
    """Return the objects with the settings of torch 2.9 and later; none in earlier versions."""
    cudnn = torch.backends.cudnn
    operations = [torch.backends.cuda.matmul, getattr(cudnn, "conv", None), getattr(cudnn, "rnn", None)]
    return [operation for operation in operations if hasattr(operation, "fp32_precision")]


@contextmanager
def tf32_as_in(precision: str) -> Iterator[None]:
    """Allow TF32 inside for the precision "tf32", and for no other; restore the setting at the end."""
    before = is_tf32_allowed()
    allow_tf32(precision == "tf32")
    try:
        yield
    finally:
        allow_tf32(before)


def uses_tf32(precision: str) -> bool:
    """Return whether torch may use TF32 in training with a precision."""
    with tf32_as_in(precision):
        return is_tf32_allowed()


@contextmanager
def full_precision(network: nn.Module) -> Iterator[None]:
    """Compute in IEEE float32 inside, without autocast and TF32: the precision of all scores."""
    with without_autocast(next(network.parameters()).device.type), tf32_as_in("fp32"):
        yield
