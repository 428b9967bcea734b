"""Random streams named by what they are for, so that nothing depends on the order in which things run."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


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
