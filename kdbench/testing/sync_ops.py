"""Find operations that synchronize the host with a GPU, without a GPU."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, final

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

SYNC_OPS = {
    *("_local_scalar_dense", "is_nonzero", "equal", "allclose"),  # read a value
    # read the size of the result
    *("nonzero", "masked_select", "unique_dim", "unique_consecutive", "_unique", "_unique2", "bincount"),
    *("_linalg_svd", "_linalg_eigh", "_linalg_solve_ex", "_linalg_check_errors"),  # read whether it succeeded
    # read whether indices are in range, under deterministic algorithms
    *("scatter.src", "scatter_.src", "scatter_add", "scatter_add_", "scatter_reduce"),
    "lift_fresh",  # torch.tensor of Python numbers
}
SYNC_METHODS = {"cpu", "numpy", "tolist", "__array__"}  # hidden from a dispatch mode if all tensors are on the CPU


@contextmanager
def record_sync_ops() -> Iterator[list[str]]:
    """Collect the names of the operations inside that would synchronize with a GPU.

    Copies between devices are found if there are two devices, such as "cpu" and "meta".
    """
    names: list[str] = []
    with _Functions(names), _Operations(names):
        yield names


def is_sync_op(func: Any) -> bool:
    """Return whether an operation, whatever its arguments, synchronizes with a GPU."""
    name = func._overloadpacket.__name__
    return not SYNC_OPS.isdisjoint({name, f"{name}.{func._overloadname}"})


@final
class _Functions(TorchFunctionMode):
    def __init__(self, names: list[str]) -> None:
        super().__init__()
        self._names = names

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if name in SYNC_METHODS:
            self._names.append(name)
        return func(*args, **(kwargs or {}))


@final
class _Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self, names: list[str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._names = names

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name, result = func._overloadpacket.__name__, func(*args, **(kwargs or {}))
        if is_sync_op(func) or _reads_values(name, args, kwargs or {}) or _crosses_devices(name, args, result):
            self._names.append(name)
        return result


def _reads_values(name: str, args: Any, kwargs: Any) -> bool:
    """Return whether the values of an argument determine the result's size, or are checked as indices."""
    if name == "repeat_interleave":
        return "output_size" not in kwargs
    if name in ("index_put", "index_put_"):
        accumulates = len(args) > 3 and args[3]  # as in the gradient of indexing, which checks nothing
        return not accumulates
    masks = args[1] if name == "index" else ()
    return any(mask is not None and mask.dtype in (torch.bool, torch.uint8) for mask in masks)


def _crosses_devices(name: str, args: Any, result: Any) -> bool:
    """Return whether a tensor is copied from one device to another."""
    source = args[1] if name == "copy_" else args[0] if name == "_to_copy" else result
    return isinstance(source, torch.Tensor) and source.device != result.device
