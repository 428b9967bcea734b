"""bf16 or fp32: what the hardware has, and the autocast that follows from it."""

from pathlib import Path
from typing import Literal

import torch
from torch import nn


def resolve_precision(precision: Literal["auto", "bf16", "fp32"]) -> Literal["bf16", "fp32"]:
    """`auto` is bf16 where the GPU, or without one the processor, computes in it natively."""
    if precision != "auto":
        return precision
    return "bf16" if _has_bf16() else "fp32"


def _has_bf16() -> bool:
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False
    return "bf16" in flags  # avx512_bf16 and amx_bf16 of x86, bf16 of ARM


def autocast(network: nn.Module, precision: str) -> torch.autocast:
    """The autocast under which a network of that precision runs on its device."""
    device = next(network.parameters()).device.type
    return torch.autocast(device, dtype=torch.bfloat16, enabled=precision == "bf16")
