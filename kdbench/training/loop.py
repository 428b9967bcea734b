"""The training loop: each batch is drawn once, and every member of a cohort trains on it in turn."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Protocol, final

from torch import Tensor

from kdbench.training.billing import Bills
from kdbench.training.member import Member
from kdbench.training.memory import is_out_of_memory
from kdbench.training.method import Batch
from kdbench.training.network import Frozen
from kdbench.training.precision import autocast, tf32_as_in
from kdbench.training.stopwatch import Stopwatch


class Batches(Protocol):
    """The source of a cohort's batches."""

    def epoch(self, epoch: int, epochs: int) -> Iterator[Batch]:
        """Yield the batches of an epoch, counted from 0, of a run of `epochs`."""


class TeacherForward(Protocol):
    """A way to get a frozen teacher's output for a batch other than a forward pass: from disk, or by a CUDA graph."""

    def forward(self, images: Tensor, epoch: int, position: int) -> Stopwatch:
        """Put the output for images (B, C, H, W) into the teacher's cache; epoch and position count from 0.

        Returns:
            How long the output took to compute, also if it was computed earlier and read from disk.
        """


@final
class CohortLoop:
    """Trains runs that see the same batches and share frozen teachers.

    Args:
        members: the runs.
        batches: the source of the batches.
        teachers: the frozen networks whose outputs are computed once per batch for all members that read them.
        evaluate: returns a member's scores at the end of an epoch.
        on_epoch_end: called with the epoch, counted from 0, and the members that trained in it.
        forwards: how to get a teacher's output, for teachers that are not simply called.
    """

    def __init__(
        self,
        members: Sequence[Member],
        batches: Batches,
        teachers: Sequence[Frozen],
        evaluate: Callable[[Member], Mapping[str, float]],
        on_epoch_end: Callable[[int, Sequence[Member]], None],
        forwards: Mapping[Frozen, TeacherForward] | None = None,
    ) -> None:
        self._members = list(members)
        self._batches = batches
        self._teachers = teachers
        self._precision = members[0].recipe.precision
        self._forwards = forwards or {}
        self._frozen = {*teachers, *(network for member in members for network in _frozen_networks(member))}
        self._evaluate = evaluate
        self._on_epoch_end = on_epoch_end
        self._batch_watch = Stopwatch(members[0].device)
        self._evaluations = {member: Stopwatch(member.device) for member in members}
        self._bills = Bills()
        for network in self._frozen:
            network.bill_to(self._bills)

    def shared_seconds(self, member: Member) -> float:
        """Return the time of the work that a member shares: all batches, and the teachers' outputs that it read.

        Each member is billed what the work would take if it were alone; outputs read from disk count as long as they
        took to compute.
        """
        return self._batch_watch.seconds + self._bills.seconds(member.name)

    def own_seconds(self, member: Member) -> float:
        """Return the time of a member's own steps, in all its attempts, and of its evaluations in this loop."""
        return member.seconds + self._evaluations[member].seconds

    def drop(self, members: Collection[Member]) -> None:
        """Train some of the members no longer; called between two epochs."""
        self._members = [member for member in self._members if member not in members]

    def train(self, epochs: int, first: int = 0) -> None:
        """Train all members from epoch `first`, counted from 0, until the last epoch, an early stop, or an error.

        Raises:
            MemoryError, RuntimeError: out of memory, which no single member causes.
        """
        for epoch in range(first, epochs):
            active = [member for member in self._members if member.is_training]
            if not active:
                return
            with tf32_as_in(self._precision):
                self._train_epoch(epoch, epochs, active)
            for member in active:
                if member.error is None:
                    self._end_epoch(member, epoch)
            self._on_epoch_end(epoch, active)

    def _end_epoch(self, member: Member, epoch: int) -> None:
        try:
            with self._evaluations[member].running():
                scores = self._evaluate(member)
        except Exception as error:  # a custom network may fail in eval mode only
            if is_out_of_memory(error):
                raise
            member.error = error
            return
        member.end_epoch(epoch, scores)

    def _train_epoch(self, epoch: int, epochs: int, active: Sequence[Member]) -> None:
        for member in active:
            member.start_epoch()
        read = {network for member in active for network in _frozen_networks(member)}
        teachers = [teacher for teacher in self._teachers if teacher in read]
        batches = enumerate(self._batches.epoch(epoch, epochs))
        while (batch := self._next_batch(batches, epoch, teachers)) is not None:
            for member in active:
                if member.error is None:
                    self._train_batch(member, batch)
            for member in active:
                member.synchronize()
        self._bills.settle()

    def _train_batch(self, member: Member, batch: Batch) -> None:
        is_replay = member.is_captured
        with self._bills.reading(member.name):
            member.train_batch(batch)
            if is_replay:
                for network in self._frozen:
                    network.bill_replay()

    def _next_batch(self, batches: Iterator[tuple[int, Batch]], epoch: int, teachers: Sequence[Frozen]) -> Batch | None:
        """Draw the next batch and compute the teachers' outputs: the work that members share."""
        with self._batch_watch.running():
            for network in self._frozen:
                network.clear_cache()
            position, batch = next(batches, (0, None))
        if batch is not None and batch.images.numel():
            self._compute_outputs(teachers, batch.images, epoch, position)
        return batch

    def _compute_outputs(self, teachers: Sequence[Frozen], images: Tensor, epoch: int, position: int) -> None:
        with autocast(images.device.type, self._precision):
            for teacher in teachers:
                # each member that calls the teacher raises the same error itself
                with suppress(Exception):
                    if teacher in self._forwards:
                        teacher.set_cost(images, self._forwards[teacher].forward(images, epoch, position))
                    else:
                        teacher(images)


def _frozen_networks(member: Member) -> Iterator[Frozen]:
    return (module for module in member.method.modules() if isinstance(module, Frozen))
