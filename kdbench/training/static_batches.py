"""Batches and teacher outputs that stay in the same tensors, as CUDA graphs require."""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import final

from torch import Tensor

from kdbench.training.cuda_graphs import WARM_UP, GraphRecorder, Work
from kdbench.training.loop import Batches
from kdbench.training.method import Batch
from kdbench.training.network import Frozen, Output
from kdbench.training.stopwatch import Stopwatch


@final
class GraphedTeacher:
    """A `TeacherForward` that captures the teacher's forward pass after the first batches and then replays it."""

    def __init__(self, teacher: Frozen, recorder: GraphRecorder) -> None:
        self._teacher = teacher
        self._recorder = recorder
        self._eager_batches = float(WARM_UP)  # until the capture; infinite once a capture has been attempted
        self._output: Output | None = None
        self._replay: Work | None = None

    def forward(self, images: Tensor, epoch: int, position: int) -> Stopwatch:
        """Put the output for images (B, C, H, W), always in the same tensor, into the teacher's cache.

        Returns:
            The time of the computation.
        """
        cost = Stopwatch(images.device)
        with self._recorder.on_own_stream(), cost.running():
            if self._replay is not None:
                self._replay()
            elif self._eager_batches:
                self._eager_batches -= 1
                self._teacher(images)
            else:
                self._eager_batches = math.inf
                self._replay = self._recorder.record(lambda: self._compute(images))
        self._recorder.synchronize()
        if self._output is not None:
            self._teacher.cache(images, self._output)
        return cost

    def _compute(self, images: Tensor) -> None:
        self._output = self._teacher(images)


@final
class StaticBatches:
    """Batches in tensors that stay the same: every batch is copied into those of the first one."""

    def __init__(self, batches: Batches) -> None:
        self._batches = batches
        self._static: Batch | None = None

    def epoch(self, epoch: int, epochs: int) -> Iterator[Batch]:
        """Yield the batches of an epoch, counted from 0, of a run of `epochs`."""
        for batch in self._batches.epoch(epoch, epochs):
            if self._static is None:
                self._static = _clone(batch)
            else:
                _copy(batch, self._static)
            yield replace(self._static, progress=batch.progress, share=batch.share)


def _clone(batch: Batch) -> Batch:
    labels, indices, images, *others = (tensor.clone() for tensor in _tensors(batch))
    return replace(batch, images=images, labels=labels, indices=indices, views=(images, *others))


def _copy(batch: Batch, static: Batch) -> None:
    for source, target in zip(_tensors(batch), _tensors(static), strict=True):
        target.copy_(source)


def _tensors(batch: Batch) -> tuple[Tensor, ...]:
    return (batch.labels, batch.indices, *(batch.views or (batch.images,)))
