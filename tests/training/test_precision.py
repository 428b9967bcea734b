"""bf16 where the hardware has it, and TF32 where it is asked for."""

from pathlib import Path

import pytest
import torch
from torch import nn

from kdbench.errors import KdbenchError
from kdbench.training import precision as precision_module
from kdbench.training.precision import (
    allow_tf32,
    autocast,
    check_device,
    is_tf32_allowed,
    resolve_precision,
    tf32_as_in,
    uses_tf32,
)


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


@pytest.mark.parametrize("capability", [None, (7, 5)])
def test_tf32_needs_a_gpu_that_has_it(machine, monkeypatch, capability):
    machine(None if capability is None else True, "avx512_bf16")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    with pytest.raises(KdbenchError, match=r'^precision "tf32" needs a GPU with TF32 .* none was found; use "fp32"'):
        resolve_precision("tf32")


def test_tf32_is_kept_on_a_gpu_that_has_it_and_auto_never_chooses_it(machine, monkeypatch):
    machine(False, None)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (8, 0))
    assert resolve_precision("tf32") == "tf32"
    assert resolve_precision("auto") == "fp32"


def test_a_cpu_does_not_train_with_tf32():
    check_device("tf32", torch.device("cuda"))
    check_device("fp32", torch.device("cpu"))
    with pytest.raises(KdbenchError, match=r'needs a GPU, but the runs are to train on the device "cpu"; use "fp32"'):
        check_device("tf32", torch.device("cpu"))


@pytest.fixture
def tf32_off():
    yield allow_tf32(False)
    allow_tf32(False)


def settings():
    """Return what torch's kernels read, by its old and its new names."""
    backends = torch.backends
    new = [backends.cuda.matmul, getattr(backends.cudnn, "conv", None), getattr(backends.cudnn, "rnn", None)]
    return [
        *(flag is True for flag in (backends.cuda.matmul.allow_tf32, backends.cudnn.allow_tf32)),
        *(one.fp32_precision == "tf32" for one in new if hasattr(one, "fp32_precision")),
    ]


@pytest.mark.usefixtures("tf32_off")
@pytest.mark.parametrize(("precision", "expected"), [("tf32", True), ("fp32", False), ("bf16", False)])
def test_tf32_is_allowed_for_convolutions_and_products_in_the_precision_tf32_only(precision, expected):
    for outside in (True, False):
        allow_tf32(outside)
        with tf32_as_in(precision):
            assert set(settings()) == {expected}
        assert set(settings()) == {outside}
        assert is_tf32_allowed() is outside
    assert uses_tf32(precision) is expected


@pytest.mark.usefixtures("tf32_off")
def test_settings_of_the_users_own_code_are_replaced_and_restored():
    conv = getattr(torch.backends.cudnn, "conv", None)
    if conv is None:
        pytest.skip("this version of torch has no settings per operation")
    conv.fp32_precision = "tf32"  # torch's old settings cannot be read now
    with tf32_as_in("fp32"):
        assert set(settings()) == {False}
    assert is_tf32_allowed()


@pytest.mark.usefixtures("tf32_off")
def test_the_settings_of_torch_before_2_9_are_used_there(monkeypatch):
    monkeypatch.setattr(precision_module, "_new_settings", list)
    for allowed in (True, False):
        allow_tf32(allowed)
        assert is_tf32_allowed() is allowed
        assert torch.backends.cuda.matmul.allow_tf32 is torch.backends.cudnn.allow_tf32 is allowed


@pytest.mark.parametrize(("precision", "dtype"), [("bf16", torch.bfloat16), ("fp32", torch.float32)])
def test_autocast_has_the_precision(precision, dtype):
    network = nn.Linear(2, 2)
    with autocast(network, precision):
        assert network(torch.ones(1, 2)).dtype == dtype
