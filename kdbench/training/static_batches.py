"""What a cohort shares, in tensors that stay where they are, so that recorded steps find it there."""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import final

from torch import Tensor

from kdbench.training.cuda_graphs import WARM_UP, GraphRecorder, Work
from kdbench.training.loop import Batches
from kdbench.training.method import Batch
from kdbench.training.network import Frozen, Output


@final
class GraphedTeacher:
    """A frozen teacher whose forward pass is recorded after some batches; a `TeacherCache` to the loop."""

    saved_seconds = 0.0  # it computes whatever it says

    def __init__(self, teacher: Frozen, recorder: GraphRecorder) -> None:
        self._teacher = teacher
        self._recorder = recorder
        self._waits = float(WARM_UP)  # batches until it is recorded; forever, if it cannot be
        self._output: Output | None = None
        self._again: Work | None = None

    def ask(self, images: Tensor, epoch: int, position: int) -> None:
        """Have the teacher remember its output for these images (B, C, H, W), always the same tensor."""
        with self._recorder.on_own_stream():
            if self._again is not None:
                self._again()
            elif self._waits:
                self._waits -= 1
                self._teacher(images)
            else:
                self._waits = math.inf
                self._again = self._recorder.record(lambda: self._answer(images))
        self._recorder.synchronize()
        if self._output is not None:
            self._teacher.cache(images, self._output)

    def _answer(self, images: Tensor) -> None:
        self._output = self._teacher(images)


@final
class StaticBatches:
    """Batches whose tensors stay where they are: each batch is copied into those of the first."""

    def __init__(self, batches: Batches) -> None:
        self._batches = batches
        self._held: Batch | None = None

    def epoch(self, epoch: int, epochs: int) -> Iterator[Batch]:
        """The batches of an epoch, from 0."""
        for batch in self._batches.epoch(epoch, epochs):
            if self._held is None:
                self._held = _copy(batch)
            else:
                _write(batch, self._held)
            yield replace(self._held, progress=batch.progress)


def _copy(batch: Batch) -> Batch:
    labels, indices, images, *others = (tensor.clone() for tensor in _tensors(batch))
    return replace(batch, images=images, labels=labels, indices=indices, views=(images, *others))


def _write(batch: Batch, held: Batch) -> None:
    for new, place in zip(_tensors(batch), _tensors(held), strict=True):
        place.copy_(new)


def _tensors(batch: Batch) -> tuple[Tensor, ...]:
    return (batch.labels, batch.indices, *(batch.views or (batch.images,)))
