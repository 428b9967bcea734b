"""Out of memory, as torch and Python tell it on a processor and on a GPU."""

import traceback
from collections.abc import Iterator

import torch

TOLD_BY_THE_CPU = ("can't allocate memory", "not enough memory", "std::bad_alloc")
TOLD_BY_A_GPU = ("CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception, or one that it came of, says that memory has run out."""
    return any(map(_says_so, _chain(error)))


def _says_so(error: BaseException) -> bool:
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    told = (*TOLD_BY_THE_CPU, *TOLD_BY_A_GPU)
    return isinstance(error, RuntimeError) and any(words in str(error) for words in told)


def clear_frames(error: BaseException) -> None:
    """Let go of whatever is held by the frames in which an exception, and those that it came of, were raised."""
    for one in _chain(error):
        traceback.clear_frames(one.__traceback__)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An exception and those that it came of: torch raises another where it leaves what it was recording."""
    seen = list[BaseException]()
    while error is not None and error not in seen:
        seen.append(error)
        yield error
        error = error.__cause__ or error.__context__
