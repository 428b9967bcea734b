"""A graph recorder for the CPU that has the limits of CUDA graphs."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from kdbench.testing.sync_ops import is_sync_op


class CpuRecorder:
    """A `GraphRecorder` whose graphs hold operations and tensors, and no Python.

    A replay runs the operations on the captured tensors again. A capture refuses operations that synchronize.
    `events` lists the calls: "on_own_stream", "recorded", "synchronized".
    """

    def __init__(self) -> None:
        self.events: list[str] = []

    @contextmanager
    def on_own_stream(self) -> Iterator[None]:
        self.events.append("on_own_stream")
        yield

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        graph = _CpuGraph()
        with graph:
            work()
        self.events.append("recorded")
        return graph.replay

    def synchronize(self) -> None:
        self.events.append("synchronized")


class _CpuGraph(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self._calls: list[tuple[Any, Any, Any, list[torch.Tensor]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if is_sync_op(func):
            raise RuntimeError(f"operation not permitted when stream is capturing: {func}")
        result = func(*args, **(kwargs or {}))
        self._calls.append((func, args, kwargs or {}, _tensors(result)))
        return result

    @torch.no_grad()
    def replay(self) -> None:
        for func, args, kwargs, targets in self._calls:
            for target, result in zip(targets, _tensors(func(*args, **kwargs)), strict=True):
                if result.data_ptr() != target.data_ptr():
                    target.copy_(result)


def _tensors(result: Any) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)]
