"""Out-of-memory errors of torch and Python, on the CPU and on a GPU."""

import traceback

import torch

from kdbench.errors import causes

CPU_MESSAGES = ("can't allocate memory", "not enough memory", "std::bad_alloc")
GPU_MESSAGES = ("CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED")


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an exception, or one in its chain of causes, is an out-of-memory error."""
    return any(map(_is_memory_error, causes(error)))


def _is_memory_error(error: BaseException) -> bool:
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in (*CPU_MESSAGES, *GPU_MESSAGES))


def clear_frames(error: BaseException) -> None:
    """Free the local variables of all frames in the tracebacks of an exception and of its chain of causes."""
    for each in causes(error):
        traceback.clear_frames(each.__traceback__)
