"""bf16 where the hardware has it."""

from pathlib import Path

import pytest
import torch
from torch import nn

from kdbench.training.precision import autocast, resolve_precision


@pytest.fixture
def machine(monkeypatch):
    """`machine(gpu, flags)`: fake a GPU with bf16 (True), without (False), or no GPU (None), and the CPU's flags."""

    def make(gpu: bool | None, flags: str | None):
        def read(path: Path, **_):
            if flags is None:
                raise FileNotFoundError(path)
            return flags

        monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu is not None)
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: bool(gpu))
        monkeypatch.setattr(Path, "read_text", read)

    return make


@pytest.mark.parametrize(
    ("gpu", "flags", "expected"),
    [
        (True, "avx2", "bf16"),
        (False, "avx512_bf16", "fp32"),
        (None, "flags: avx512f avx512_bf16", "bf16"),
        (None, "flags: amx_bf16 amx_tile", "bf16"),
        (None, "Features: asimdhp i8mm bf16 dgh", "bf16"),
        (None, "flags: avx2 avx512f", "fp32"),
        (None, None, "fp32"),
    ],
)
def test_auto_is_bf16_if_the_hardware_supports_it(machine, gpu, flags, expected):
    machine(gpu, flags)
    assert resolve_precision("auto") == expected


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_an_explicit_precision_is_kept(machine, precision):
    machine(None, "avx2" if precision == "bf16" else "amx_bf16")
    assert resolve_precision(precision) == precision


@pytest.mark.parametrize(("precision", "dtype"), [("bf16", torch.bfloat16), ("fp32", torch.float32)])
def test_autocast_has_the_precision(precision, dtype):
    network = nn.Linear(2, 2)
    with autocast(network, precision):
        assert network(torch.ones(1, 2)).dtype == dtype
