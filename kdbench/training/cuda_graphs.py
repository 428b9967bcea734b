"""CUDA graphs: capture a method's steps once and replay them for every later batch.

A small network spends most of a step launching kernels. A CUDA graph launches all kernels of a step at once, and the
members of a cohort overlap, each on its own CUDA stream. A replay reads and writes the captured tensors again, so
batches, teacher outputs, learning rates and sums of losses stay in the same tensors.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Protocol, final

import torch

from kdbench.garbage_collection import gc_paused
from kdbench.training.method import Batch
from kdbench.training.network import Frozen
from kdbench.training.step_runner import StepRunner

WARM_UP = 3  # eager batches before the capture: they create momentum buffers and the workspaces of libraries

Work = Callable[[], None]


class GraphRecorder(Protocol):
    """A stream of work on a device that can be captured in a graph."""

    def on_own_stream(self) -> AbstractContextManager[None]:
        """Run the work inside after all earlier work, concurrently with the streams of other recorders."""

    def record(self, work: Work) -> Work:
        """Capture `work`, run it, and return a function that replays it; call this inside `on_own_stream`."""

    def synchronize(self) -> None:
        """Make later work wait for the work of this stream."""


@final
class CudaGraphRecorder:
    """A CUDA stream whose work is captured in CUDA graphs."""

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    @contextmanager
    def on_own_stream(self) -> Iterator[None]:
        """Make the stream the current one, after all work of the stream that was current before."""
        self._stream.wait_stream(torch.cuda.current_stream(self._stream.device))
        with torch.cuda.stream(self._stream):
            yield

    def record(self, work: Work) -> Work:
        """Capture `work`, launch the graph, and return its `replay`."""
        graph = torch.cuda.CUDAGraph()
        # freeing an older graph during a capture would invalidate the capture
        with gc_paused(), torch.cuda.graph(graph, stream=self._stream):
            work()
        graph.replay()
        return graph.replay

    def synchronize(self) -> None:
        """Make the current stream wait for this one."""
        torch.cuda.current_stream(self._stream.device).wait_stream(self._stream)


def make_recorder(device: torch.device) -> GraphRecorder | None:
    """Return a recorder for a GPU, and None for a CPU."""
    return CudaGraphRecorder(device) if device.type == "cuda" else None


@final
class GraphedSteps:
    """The steps of a method with `cuda_graph_safe`: eager for the first batches, then captured and replayed."""

    def __init__(self, steps: StepRunner, recorder: GraphRecorder) -> None:
        self._steps = steps
        self._recorder = recorder
        self._batches = 0
        self._replay: Work | None = None
        self._counts_per_batch = dict[str, int]()

    @property
    def is_captured(self) -> bool:
        """Whether the steps have been captured."""
        return self._replay is not None

    def __call__(self, batch: Batch) -> None:
        """Run the steps of one batch. All batches must be in the same tensors."""
        if self._replay is not None:
            self._replay()
            self._steps.counts.update(self._counts_per_batch)
        elif self._batches < WARM_UP:
            self._steps(batch)
        else:
            self._capture(batch)
        self._batches += 1

    def _capture(self, batch: Batch) -> None:
        before = self._steps.counts.copy()
        with ExitStack() as stack:
            for module in self._steps.method.modules():
                if isinstance(module, Frozen):
                    stack.enter_context(module.static_only())
            self._replay = self._recorder.record(lambda: self._steps(batch))
        self._counts_per_batch = dict(self._steps.counts - before)
