"""Fixtures and settings for all tests."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import pytest  # noqa: E402
from hypothesis import settings  # noqa: E402

settings.register_profile("kdbench", deadline=None, max_examples=50)
settings.load_profile("kdbench")


@pytest.fixture(scope="session", autouse=True)
def temporary_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Use a temporary folder in place of the user's cache of decoded data."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KDBENCH_CACHE", str(tmp_path_factory.mktemp("decoded")))
        yield


@pytest.fixture(scope="session", autouse=True)
def default_sigint_handler() -> None:
    """Undo SIG_IGN, which processes started in a shell's background inherit and pass on to those that tests start."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def unload_temporary_modules(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Unload the modules that a test imported from a temporary folder: the next test may have one of the same name."""
    loaded = set(sys.modules)
    yield
    base = str(tmp_path_factory.getbasetemp())
    for name in set(sys.modules) - loaded:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(base):
            del sys.modules[name]


@pytest.fixture
def sync_ops() -> Callable[[], AbstractContextManager[list[str]]]:
    """`with sync_ops() as names`: collect the operations that would synchronize with a GPU."""
    from kdbench.testing.sync_ops import record_sync_ops

    return record_sync_ops


@pytest.fixture
def recorder() -> Callable[..., Any]:
    """`recorder(device=None)`: return a `GraphRecorder` for the CPU with the limits of CUDA graphs."""
    from cpu_recorder import CpuRecorder

    return lambda device=None: CpuRecorder()
