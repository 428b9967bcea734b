"""Random streams named by what they are for, so that nothing depends on the order in which things run."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import final

import torch
from torch import Tensor

CPU = torch.device("cpu")


def derive_seed(*keys: object) -> int:
    """A seed of 63 bits for the stream that the keys name."""
    text = "/".join(str(key) for key in keys)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def make_generator(*keys: object) -> torch.Generator:
    """A generator on the CPU for the stream that the keys name."""
    return torch.Generator().manual_seed(derive_seed(*keys))


@contextmanager
def seeded(*keys: object) -> Iterator[None]:
    """Inside, torch's global generators follow the named stream; outside, they go on as before."""
    with torch.random.fork_rng():
        torch.manual_seed(derive_seed(*keys))
        yield


@final
class IsolatedRNG:
    """A random stream of its own: torch's generators for the CPU and for `device` follow it only inside `own()`.

    On a GPU the generator takes on a state of its own, rather than a copy: what has been captured draws from the state
    that was there, so that streams of different members can run beside one another.
    """

    def __init__(self, seed: int, device: torch.device = CPU) -> None:
        self._cpu = torch.Generator().manual_seed(seed).get_state()
        self._cuda = torch.Generator(device).manual_seed(seed) if device.type == "cuda" else None

    def state(self) -> dict[str, Tensor | None]:
        """What `resume` needs to go on as if nothing had happened."""
        return {"cpu": self._cpu, "cuda": self._cuda.get_state() if self._cuda else None}

    def resume(self, state: Mapping[str, Tensor | None]) -> None:
        """Go on from what `state` gave."""
        cpu, cuda = state["cpu"], state["cuda"]
        self._cpu = self._cpu if cpu is None else cpu
        if self._cuda is not None and cuda is not None:
            self._cuda.set_state(cuda)

    @contextmanager
    def own(self) -> Iterator[None]:
        """Inside, whatever draws at random draws from this stream."""
        outside = torch.get_rng_state()
        torch.set_rng_state(self._cpu)
        try:
            with nullcontext() if self._cuda is None else _in_the_place_of_the_default(self._cuda):
                yield
        finally:
            self._cpu = torch.get_rng_state()
            torch.set_rng_state(outside)


@contextmanager
def _in_the_place_of_the_default(own: torch.Generator) -> Iterator[None]:
    default = torch.cuda.default_generators[own.device.index or 0]
    outside = default.graphsafe_get_state()
    default.graphsafe_set_state(own)
    try:
        yield
    finally:
        default.graphsafe_set_state(outside)
