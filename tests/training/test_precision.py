"""bf16 where the hardware has it, and TF32 where it is asked for."""

from pathlib import Path

import pytest
import torch
from torch import nn

from kdbench.errors import KdbenchError
from kdbench.training import bf16_speed
from kdbench.training import precision as precision_module
from kdbench.training.bf16_speed import measure_bf16_ratio
from kdbench.training.precision import (
    allow_tf32,
    autocast,
    check_device,
    is_bf16_slow,
    is_tf32_allowed,
    resolve_precision,
    tf32_as_in,
    uses_tf32,
    without_autocast,
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
    assert resolve_precision("auto", lambda: 1.5) == expected


@pytest.mark.parametrize(("ratio", "expected"), [(0.5, "bf16"), (4.9, "bf16"), (5.0, "fp32"), (300.0, "fp32")])
def test_auto_is_fp32_on_a_cpu_with_slow_bf16_convolutions(machine, ratio, expected):
    machine(None, "avx512_bf16")
    assert resolve_precision("auto", lambda: ratio) == expected
    assert is_bf16_slow(lambda: ratio) is (expected == "fp32")
    assert resolve_precision("bf16", lambda: ratio) == "bf16"


@pytest.mark.parametrize(("gpu", "flags"), [(True, "avx512_bf16"), (False, "avx512_bf16"), (None, "avx2")])
def test_the_speed_of_bf16_is_not_measured_where_it_decides_nothing(machine, gpu, flags):
    machine(gpu, flags)
    assert resolve_precision("auto", pytest.fail) == ("bf16" if gpu else "fp32")
    assert not is_bf16_slow(pytest.fail)


def test_the_speed_of_bf16_is_the_ratio_of_the_shortest_times(monkeypatch):
    seconds = {torch.bfloat16: iter([9, 4, 2, 8, 3, 7]), torch.float32: iter([1, 6, 9, 5, 4, 8])}
    monkeypatch.setattr(bf16_speed, "_convolution", lambda dtype: dtype)
    monkeypatch.setattr(bf16_speed, "_seconds", lambda dtype: next(seconds[dtype]))
    assert measure_bf16_ratio() == 2 / 4
    seconds = {torch.bfloat16: iter([101]), torch.float32: iter([1])}
    assert measure_bf16_ratio() == 101  # and no further measurement, which would take long


def test_the_speed_of_bf16_is_measured():
    assert 0.01 < measure_bf16_ratio() < 1e5


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
    assert resolve_precision("auto", lambda: 1.0) == "fp32"


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
    with autocast("cpu", precision):
        assert network(torch.ones(1, 2)).dtype == dtype


def test_fp32_disables_autocast_inside_another_one():
    network = nn.Linear(2, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        with autocast("cpu", "fp32"):
            assert network(torch.ones(1, 2)).dtype == torch.float32
        with without_autocast("cpu"):
            assert network(torch.ones(1, 2)).dtype == torch.float32
        assert network(torch.ones(1, 2)).dtype == torch.bfloat16
