"""Out of memory, as torch and Python tell it on a processor and on a GPU."""

import torch

TOLD_BY_THE_CPU = ("can't allocate memory", "not enough memory", "std::bad_alloc")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory has run out."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in TOLD_BY_THE_CPU)
