"""What all tests share."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import pytest  # noqa: E402
from hypothesis import settings  # noqa: E402

settings.register_profile("kdbench", deadline=None, max_examples=50)
settings.load_profile("kdbench")


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Decoded data are kept for one run of the tests, and never where the user keeps them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KDBENCH_CACHE", str(tmp_path_factory.mktemp("decoded")))
        yield


@pytest.fixture(scope="session", autouse=True)
def heed_interrupts() -> None:
    """A shell lets what it starts in the background ignore Ctrl-C, and that is inherited by whatever a test starts."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


WAITING = {
    *("_local_scalar_dense", "is_nonzero", "equal", "allclose"),  # a value is read
    *("nonzero", "masked_select", "unique_dim", "unique_consecutive", "_unique", "_unique2", "bincount"),  # a size is
    *("_linalg_svd", "_linalg_eigh", "_linalg_solve_ex", "_linalg_check_errors"),  # whether it went well is
    # whether indices are in range is, by the deterministic algorithms
    *("scatter.src", "scatter_.src", "scatter_add", "scatter_add_", "scatter_reduce"),
    "lift_fresh",  # torch.tensor of numbers
}
WAITING_TENSOR = {"cpu", "numpy", "tolist", "__array__"}  # unseen by a dispatch mode where all is on the CPU


def is_waiting(func: Any) -> bool:
    """Whether an operation, or this form of it, has the host wait for a GPU."""
    name = func._overloadpacket.__name__
    return not WAITING.isdisjoint({name, f"{name}.{func._overloadname}"})


@pytest.fixture
def waits() -> Callable[[], AbstractContextManager[list[str]]]:
    """`with waits() as found`: what is done inside for which a GPU's queue has to be emptied, as names.

    Copies between devices are seen where there are two, as with "meta".
    """
    import torch
    from torch.overrides import TorchFunctionMode
    from torch.utils._python_dispatch import TorchDispatchMode

    found: list[str] = []

    class Functions(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            name = getattr(func, "__name__", "")
            found.extend([name] if name in WAITING_TENSOR else [])
            return func(*args, **(kwargs or {}))

    class Operations(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            name, result = func._overloadpacket.__name__, func(*args, **(kwargs or {}))
            found.extend(
                [name] if is_waiting(func) or sized(name, args, kwargs) or crossing(name, args, result) else []
            )
            return result

    def sized(name: str, args: Any, kwargs: Any) -> bool:
        """Whether values decide how large the result is, or are checked as indices."""
        if name == "repeat_interleave":
            return "output_size" not in kwargs
        if name in ("index_put", "index_put_"):
            accumulate = len(args) > 3 and args[3]  # then it is the gradient of indexing, which checks nothing
            return not accumulate
        masks = args[1] if name == "index" else ()
        return any(mask is not None and mask.dtype in (torch.bool, torch.uint8) for mask in masks)

    def crossing(name: str, args: Any, result: Any) -> bool:
        """Whether a tensor goes from one device to another."""
        source = args[1] if name == "copy_" else args[0] if name == "_to_copy" else result
        return isinstance(source, torch.Tensor) and source.device != result.device

    @contextmanager
    def watch() -> Iterator[list[str]]:
        found.clear()
        with Functions(), Operations():
            yield found

    return watch


@pytest.fixture
def recorder() -> Callable[..., Any]:
    """`recorder(device=None)`: a `GraphRecorder` for the CPU that keeps what CUDA graphs keep: operations, and addresses.

    Its recordings repeat the operations on the very tensors that they saw, and know nothing of Python. What a stream
    that is being captured refuses, it refuses: to wait for a value.
    """
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_flatten

    class Tape(TorchDispatchMode):
        def __init__(self) -> None:
            super().__init__()
            self.done: list[tuple[Any, Any, Any, list[Any]]] = []

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if is_waiting(func):
                raise RuntimeError(f"operation not permitted when stream is capturing: {func}")
            result = func(*args, **(kwargs or {}))
            self.done.append((func, args, kwargs or {}, tensors(result)))
            return result

        @torch.no_grad()
        def play(self) -> None:
            for func, args, kwargs, places in self.done:
                for place, found in zip(places, tensors(func(*args, **kwargs)), strict=True):
                    if found.data_ptr() != place.data_ptr():
                        place.copy_(found)

    def tensors(result: Any) -> list[Any]:
        return [leaf for leaf in tree_flatten(result)[0] if isinstance(leaf, torch.Tensor)]

    class OnTheCpu:
        def __init__(self) -> None:
            self.events: list[str] = []

        @contextmanager
        def on_own_stream(self) -> Iterator[None]:
            self.events.append("on_own_stream")
            yield

        def record(self, work: Callable[[], None]) -> Callable[[], None]:
            tape = Tape()
            with tape:
                work()
            self.events.append("recorded")
            return tape.play

        def synchronize(self) -> None:
            self.events.append("synchronized")

    return lambda device=None: OnTheCpu()
