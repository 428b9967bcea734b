"""The precisions bf16 and fp32: which one the hardware supports, and the autocast for it."""

from pathlib import Path
from typing import Literal

import torch
from torch import nn


def resolve_precision(precision: Literal["auto", "bf16", "fp32"]) -> Literal["bf16", "fp32"]:
    """Return the precision that "auto" stands for: bf16 if the GPU, or the CPU without one, supports it natively."""
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
    return "bf16" in flags  # avx512_bf16 and amx_bf16 on x86, bf16 on ARM


def autocast(network: nn.Module, precision: str) -> torch.autocast:
    """Return the autocast context for a network's device and a precision, "bf16" or "fp32"."""
    device = next(network.parameters()).device.type
    return torch.autocast(device, dtype=torch.bfloat16, enabled=precision == "bf16")
