"""Out-of-memory errors are recognized, and exceptions can release what their frames hold."""

import weakref

import pytest
import torch

from kdbench.training.memory import clear_frames, is_out_of_memory


class Local:
    """A local variable of a frame."""


def interrupted_capture(first, references):
    """Return the exception that torch raises when `first` interrupts a graph's capture."""
    try:
        try:
            local = Local()
            references.append(weakref.ref(local))
            raise first
        finally:
            raise RuntimeError("operation failed due to a previous error during capture")
    except RuntimeError as error:
        return error


@pytest.mark.parametrize("first", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError()])
def test_an_error_caused_by_out_of_memory_is_one(first):
    assert is_out_of_memory(interrupted_capture(first, []))


def test_other_errors_are_not():
    assert not is_out_of_memory(interrupted_capture(ValueError("shapes"), []))
    assert not is_out_of_memory(ValueError("CUDA error: out of memory"))


def test_clear_frames_frees_the_locals_of_all_frames():
    references = []
    error = interrupted_capture(ValueError("shapes"), references)
    assert references[0]() is not None
    clear_frames(error)
    assert references[0]() is None
    assert str(error.__context__) == "shapes"


def test_an_exception_may_be_its_own_cause():
    error = ValueError("shapes")
    error.__cause__ = error
    assert not is_out_of_memory(error)
