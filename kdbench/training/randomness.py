"""Random streams named by what they are for, so that nothing depends on the order in which things run."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import final

import torch
from torch import Tensor


def derive(*keys: object) -> int:
    """A seed of 63 bits for the stream that the keys name."""
    text = "/".join(str(key) for key in keys)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def stream(*keys: object) -> torch.Generator:
    """A generator on the CPU for the stream that the keys name."""
    return torch.Generator().manual_seed(derive(*keys))


@contextmanager
def seeded(*keys: object) -> Iterator[None]:
    """Inside, torch's global generators follow the named stream; outside, they go on as before."""
    with torch.random.fork_rng():
        torch.manual_seed(derive(*keys))
        yield


@final
class OwnRandom:
    """A random stream of its own: torch's global generators follow it only inside `own()`."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._cpu: Tensor | None = None
        self._cuda: Tensor | None = None

    def state(self) -> dict[str, Tensor | None]:
        """What `resume` needs to go on as if nothing had happened."""
        return {"cpu": self._cpu, "cuda": self._cuda}

    def resume(self, state: Mapping[str, Tensor | None]) -> None:
        """Go on from what `state` gave."""
        self._cpu, self._cuda = state["cpu"], state["cuda"]

    @contextmanager
    def own(self) -> Iterator[None]:
        """Inside, whatever draws at random draws from this stream."""
        with_cuda = torch.cuda.is_available()
        outside, outside_cuda = torch.get_rng_state(), torch.cuda.get_rng_state() if with_cuda else None
        if self._cpu is None:
            torch.manual_seed(self._seed)
        else:
            torch.set_rng_state(self._cpu)
            if self._cuda is not None:
                torch.cuda.set_rng_state(self._cuda)
        try:
            yield
        finally:
            self._cpu = torch.get_rng_state()
            torch.set_rng_state(outside)
            if outside_cuda is not None:
                self._cuda = torch.cuda.get_rng_state()
                torch.cuda.set_rng_state(outside_cuda)
