"""Random number generators with seeds derived from names, so that no number depends on the order of calls."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import final

import torch
from torch import Tensor

CPU = torch.device("cpu")


def derive_seed(*keys: object) -> int:
    """Return a seed in [0, 2**63) that is a function of the keys."""
    text = "/".join(str(key) for key in keys)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def make_generator(*keys: object) -> torch.Generator:
    """Return a CPU generator seeded by the keys."""
    return torch.Generator().manual_seed(derive_seed(*keys))


@contextmanager
def seeded(*keys: object) -> Iterator[None]:
    """Seed torch's global generators by the keys; restore their states at the end."""
    with torch.random.fork_rng():
        torch.manual_seed(derive_seed(*keys))
        yield


@final
class IsolatedRNG:
    """A random state that torch's generators for the CPU and for `device` use only inside `active()`.

    On a GPU the default generator is given another state object, not a copy of the state: a captured CUDA graph draws
    from the state object that was set during its capture, so members' graphs can run concurrently.
    """

    def __init__(self, seed: int, device: torch.device = CPU) -> None:
        self._cpu = torch.Generator().manual_seed(seed).get_state()
        self._cuda = torch.Generator(device).manual_seed(seed) if device.type == "cuda" else None

    def state_dict(self) -> dict[str, Tensor | None]:
        """Return the state for `load_state_dict`."""
        return {"cpu": self._cpu, "cuda": self._cuda.get_state() if self._cuda else None}

    def load_state_dict(self, state: Mapping[str, Tensor | None]) -> None:
        """Restore what `state_dict` returned."""
        cpu, cuda = state["cpu"], state["cuda"]
        self._cpu = self._cpu if cpu is None else cpu
        if self._cuda is not None and cuda is not None:
            self._cuda.set_state(cuda)

    @contextmanager
    def active(self) -> Iterator[None]:
        """Let torch's default generators use this state; restore theirs at the end."""
        outside = torch.get_rng_state()
        torch.set_rng_state(self._cpu)
        try:
            with nullcontext() if self._cuda is None else _as_default_generator(self._cuda):
                yield
        finally:
            self._cpu = torch.get_rng_state()
            torch.set_rng_state(outside)


@contextmanager
def _as_default_generator(generator: torch.Generator) -> Iterator[None]:
    default = torch.cuda.default_generators[generator.device.index or 0]
    outside = default.graphsafe_get_state()
    default.graphsafe_set_state(generator)
    try:
        yield
    finally:
        default.graphsafe_set_state(outside)
