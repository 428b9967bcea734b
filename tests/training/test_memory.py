"""What exceptions say of memory, and what they hold of it."""

import weakref

import pytest
import torch

from kdbench.training.memory import clear_frames, is_out_of_memory


class StaticBatches:
    """What a frame may hold."""


def spoilt(first, held):
    """An exception as torch raises it where a recording is left by another."""
    try:
        try:
            mine = StaticBatches()
            held.append(weakref.ref(mine))
            raise first
        finally:
            raise RuntimeError("operation failed due to a previous error during capture")
    except RuntimeError as error:
        return error


@pytest.mark.parametrize("first", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError()])
def test_what_came_of_a_lack_of_memory_is_one(first):
    assert is_out_of_memory(spoilt(first, []))


def test_what_came_of_something_else_is_none():
    assert not is_out_of_memory(spoilt(ValueError("shapes"), []))
    assert not is_out_of_memory(ValueError("CUDA error: out of memory"))


def test_no_frame_of_an_exception_holds_anything_when_they_are_cleared():
    held = []
    error = spoilt(ValueError("shapes"), held)
    assert held[0]() is not None
    clear_frames(error)
    assert held[0]() is None
    assert str(error.__context__) == "shapes"


def test_an_exception_may_be_its_own_cause():
    error = ValueError("shapes")
    error.__cause__ = error
    assert not is_out_of_memory(error)
