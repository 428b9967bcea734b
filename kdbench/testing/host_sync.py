"""Find the operations for which the host waits for a GPU; no GPU is needed."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, final

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

SYNCS = {
    *("_local_scalar_dense", "is_nonzero", "equal", "allclose"),  # they read a value
    *("nonzero", "masked_select", "unique_dim", "unique_consecutive", "_unique", "_unique2", "bincount"),  # a size
    *("_linalg_svd", "_linalg_eigh", "_linalg_solve_ex", "_linalg_check_errors"),  # whether the result was found
    # the deterministic algorithms read whether indices are in range
    *("scatter.src", "scatter_.src", "scatter_add", "scatter_add_", "scatter_reduce"),
    "lift_fresh",  # torch.tensor of numbers
}
TENSOR_SYNCS = {"cpu", "numpy", "tolist", "__array__"}  # no dispatch mode sees them where all tensors are on the CPU


def is_sync(func: Any) -> bool:
    """Return whether an operation, or this overload of it, makes the host wait for a GPU."""
    name = func._overloadpacket.__name__
    return not SYNCS.isdisjoint({name, f"{name}.{func._overloadname}"})


@contextmanager
def host_syncs() -> Iterator[list[str]]:
    """Collect the names of all operations inside that make the host wait for a GPU.

    Copies between devices are found where there are two, such as "cpu" and "meta".
    """
    found: list[str] = []
    with _Functions(found), _Operations(found):
        yield found


@final
class _Functions(TorchFunctionMode):
    def __init__(self, found: list[str]) -> None:
        super().__init__()
        self._found = found

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if name in TENSOR_SYNCS:
            self._found.append(name)
        return func(*args, **(kwargs or {}))


@final
class _Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self, found: list[str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._found = found

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name, result = func._overloadpacket.__name__, func(*args, **(kwargs or {}))
        if is_sync(func) or _reads_sizes(name, args, kwargs or {}) or _is_copy(name, args, result):
            self._found.append(name)
        return result


def _reads_sizes(name: str, args: Any, kwargs: Any) -> bool:
    """Return whether values decide the size of the result, or are checked as indices."""
    if name == "repeat_interleave":
        return "output_size" not in kwargs
    if name in ("index_put", "index_put_"):
        is_gradient = len(args) > 3 and args[3]  # of indexing, which checks nothing
        return not is_gradient
    masks = args[1] if name == "index" else ()
    return any(mask is not None and mask.dtype in (torch.bool, torch.uint8) for mask in masks)


def _is_copy(name: str, args: Any, result: Any) -> bool:
    """Return whether a tensor is copied from one device to another."""
    source = args[1] if name == "copy_" else args[0] if name == "_to_copy" else result
    return isinstance(source, torch.Tensor) and source.device != result.device
