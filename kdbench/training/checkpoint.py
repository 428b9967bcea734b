"""Serialize the state of a cohort's member: tensors and plain values only, never code."""

import io
from typing import Any

import torch

from kdbench.errors import TrainingError


def to_bytes(state: dict[str, Any]) -> bytes:
    """Serialize a state for `from_bytes`."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def from_bytes(content: bytes) -> dict[str, Any]:
    """Return the state that `to_bytes` serialized, with its tensors on the CPU.

    Raises:
        TrainingError: the bytes are not a state, or contain anything but tensors and plain values.
    """
    try:
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # torch and pickle raise many kinds of errors for corrupted bytes
        raise TrainingError(f"a checkpoint cannot be read ({type(error).__name__}: {error})") from error
    if not isinstance(state, dict):
        raise TrainingError(f"a checkpoint must contain a dictionary, got {type(state).__name__}")
    return state
