"""Work that is recorded once and then repeated as it was: CUDA graphs, for networks whose steps are all overhead.

A GPU that is handed the hundreds of small kernels of a step one by one waits for the host between them. Recorded, they
are handed over at once, and the members of a cohort run beside one another, each in a queue (stream) of its own. What
is repeated reads and writes the same tensors again: so batches, teachers' outputs, rates and sums stay where they are.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Protocol, final

import torch

from kdbench.garbage_collection import gc_paused
from kdbench.training.method import Batch
from kdbench.training.network import Frozen
from kdbench.training.step_runner import StepRunner

WARM_UP = 3  # batches before the recording: momentum and libraries' workspaces must be there

Work = Callable[[], None]


class GraphRecorder(Protocol):
    """A queue of work of its own, which can be recorded."""

    def on_own_stream(self) -> AbstractContextManager[None]:
        """What is asked for inside comes after all that was asked for before, and beside what other recorders do."""

    def record(self, work: Work) -> Work:
        """Do `work`, and give what does the same again, to the same tensors; inside `on_own_stream`."""

    def synchronize(self) -> None:
        """What is asked for from now on comes after all that was done apart."""


@final
class CudaGraphRecorder:
    """A stream of a GPU, whose work is captured as CUDA graphs."""

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    @contextmanager
    def on_own_stream(self) -> Iterator[None]:
        """Inside, the stream is the current one."""
        self._stream.wait_stream(torch.cuda.current_stream(self._stream.device))
        with torch.cuda.stream(self._stream):
            yield

    def record(self, work: Work) -> Work:
        """Capture `work`, which does nothing yet, and launch it; gives what launches it again."""
        graph = torch.cuda.CUDAGraph()
        # an older graph that is freed while another is captured spoils that
        with gc_paused(), torch.cuda.graph(graph, stream=self._stream):
            work()
        graph.replay()
        return graph.replay

    def synchronize(self) -> None:
        """Have the current stream wait for this one."""
        torch.cuda.current_stream(self._stream.device).wait_stream(self._stream)


def recorder(device: torch.device) -> GraphRecorder | None:
    """What records on a device; None where there is nothing to gain."""
    return CudaGraphRecorder(device) if device.type == "cuda" else None


@final
class GraphedSteps:
    """The steps of a method that says it is `cuda_graph_safe`: recorded after some batches, from then on repeated."""

    def __init__(self, steps: StepRunner, recorder: GraphRecorder) -> None:
        self._steps = steps
        self._recorder = recorder
        self._seen = 0
        self._again: Work | None = None
        self._counted = dict[str, int]()

    @property
    def is_recorded(self) -> bool:
        """Whether steps are repeated by now."""
        return self._again is not None

    def __call__(self, batch: Batch) -> None:
        """Make the steps of one batch, whose tensors are always the same."""
        if self._again is not None:
            self._again()
            self._steps.counts.update(self._counted)
        elif self._seen < WARM_UP:
            self._steps(batch)
        else:
            self._record(batch)
        self._seen += 1

    def _record(self, batch: Batch) -> None:
        before = self._steps.counts.copy()
        with ExitStack() as memories:
            for module in self._steps.method.modules():
                if isinstance(module, Frozen):
                    memories.enter_context(module.static_only())
            self._again = self._recorder.record(lambda: self._steps(batch))
        self._counted = dict(self._steps.counts - before)
