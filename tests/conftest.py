"""What all tests share."""

import os
import signal
from collections.abc import Iterator

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import pytest  # noqa: E402
from hypothesis import settings  # noqa: E402

settings.register_profile("kdbench", deadline=None, max_examples=50)
settings.load_profile("kdbench")


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Decoded data are kept for one run of the tests, and never where the user keeps them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KDBENCH_CACHE", str(tmp_path_factory.mktemp("decoded")))
        yield


@pytest.fixture(scope="session", autouse=True)
def heed_interrupts() -> None:
    """A shell lets what it starts in the background ignore Ctrl-C, and that is inherited by whatever a test starts."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
