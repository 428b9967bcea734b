"""A member's state as bytes and back: tensors and plain values only, never code."""

import io
from typing import Any

import torch

from kdbench.errors import TrainingError


def to_bytes(state: dict[str, Any]) -> bytes:
    """What `from_bytes` reads."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def from_bytes(content: bytes) -> dict[str, Any]:
    """The state that `to_bytes` wrote, its tensors on the CPU.

    Raises:
        TrainingError: it holds something else than tensors and plain values, or is no state at all.
    """
    try:
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # torch and pickle raise nearly anything at corrupted bytes
        raise TrainingError(f"a checkpoint cannot be read ({type(error).__name__}: {error})") from error
    if not isinstance(state, dict):
        raise TrainingError(f"a checkpoint must hold a dictionary, got {type(state).__name__}")
    return state
