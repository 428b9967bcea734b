"""Out-of-memory errors of torch and Python, on the CPU and on a GPU."""

import traceback
from collections.abc import Iterator

import torch

CPU_MESSAGES = ("can't allocate memory", "not enough memory", "std::bad_alloc")
GPU_MESSAGES = ("CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED")


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an exception, or one in its chain of causes, is an out-of-memory error."""
    return any(map(_is_memory_error, _chain(error)))


def _is_memory_error(error: BaseException) -> bool:
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in (*CPU_MESSAGES, *GPU_MESSAGES))


def clear_frames(error: BaseException) -> None:
    """Free the local variables of all frames in the tracebacks of an exception and of its chain of causes."""
    for each in _chain(error):
        traceback.clear_frames(each.__traceback__)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an exception and its chain of causes; torch raises another error when a graph's capture is interrupted."""
    seen = list[BaseException]()
    while error is not None and error not in seen:
        seen.append(error)
        yield error
        error = error.__cause__ or error.__context__
