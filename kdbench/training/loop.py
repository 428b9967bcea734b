"""The loop: every batch is drawn once and taken by each member of a cohort in turn."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Protocol, final

import torch
from torch import Tensor

from kdbench.training.member import Member
from kdbench.training.memory import is_out_of_memory
from kdbench.training.method import Batch
from kdbench.training.network import Frozen
from kdbench.training.stopwatch import Stopwatch


class Batches(Protocol):
    """Where the batches of a cohort come from."""

    def epoch(self, epoch: int, epochs: int) -> Iterator[Batch]:
        """The batches of an epoch, from 0."""


class TeacherCache(Protocol):
    """Has a frozen teacher remember what it says of a batch, which it need not compute as it would by itself."""

    @property
    def saved_seconds(self) -> float:
        """How long it took to compute what then was only repeated."""

    def ask(self, images: Tensor, epoch: int, position: int) -> None:
        """Images (B, C, H, W): the batch at a position of an epoch, both from 0."""


@final
class CohortLoop:
    """Runs that see the same batches and share frozen teachers.

    `score` gives a member's scores at the end of an epoch; `report` is told of every epoch's end. A teacher that has a
    replay is asked through it.
    """

    def __init__(
        self,
        members: Sequence[Member],
        batches: Batches,
        frozen: Sequence[Frozen],
        score: Callable[[Member], Mapping[str, float]],
        report: Callable[[int, Sequence[Member]], None],
        teacher_caches: Mapping[Frozen, TeacherCache] | None = None,
    ) -> None:
        self._members = members
        self._batches = batches
        self._frozen = frozen
        self._teacher_caches = teacher_caches or {}
        self._caching = {*frozen, *(m for member in members for m in _frozen_of(member))}
        self._score = score
        self._report = report
        self._watch = Stopwatch(members[0].device)

    @property
    def shared_seconds(self) -> float:
        """How long the work that all members share takes: batches, and what the teachers say of them.

        What the teachers only repeated counts as long as it took to compute.
        """
        return self._watch.seconds + sum(replay.saved_seconds for replay in self._teacher_caches.values())

    def train(self, epochs: int, first: int = 0) -> None:
        """Train all members from epoch `first` to their end: the last epoch, an early stop, a failure of their own.

        Out of memory is nobody's own failure: it is raised, since any member may have used what another lacks.
        """
        for epoch in range(first, epochs):
            active = [member for member in self._members if member.training]
            if not active:
                return
            self._epoch(epoch, epochs, active)
            for member in active:
                if member.error is None:
                    self._end_epoch(member, epoch, epochs)
            self._report(epoch, active)

    def _end_epoch(self, member: Member, epoch: int, epochs: int) -> None:
        try:
            scores = self._score(member)
        except Exception as error:  # a user's own network may fail in eval mode only
            if is_out_of_memory(error):
                raise
            member.error = error
            return
        member.end_epoch(epoch, (epoch + 1) / epochs, scores)

    def _epoch(self, epoch: int, epochs: int, active: Sequence[Member]) -> None:
        for member in active:
            member.start_epoch()
        batches = enumerate(self._batches.epoch(epoch, epochs))
        while (batch := self._draw(batches, epoch)) is not None:
            for member in active:
                if member.error is None:
                    member.take(batch)
            for member in active:
                member.synchronize()

    def _draw(self, batches: Iterator[tuple[int, Batch]], epoch: int) -> Batch | None:
        """The next batch, and what the teachers say of it: the work that all members share."""
        with self._watch.running():
            for network in self._caching:
                network.clear_cache()
            position, batch = next(batches, (0, None))
            if batch is not None and batch.images.numel():
                self._ask_teachers(batch.images, epoch, position)
        return batch

    def _ask_teachers(self, images: Tensor, epoch: int, position: int) -> None:
        precision = self._members[0].recipe.precision
        with torch.autocast(images.device.type, dtype=torch.bfloat16, enabled=precision == "bf16"):
            for network in self._frozen:
                with suppress(Exception):  # the members that ask it will raise the same, each as its own failure
                    if network in self._teacher_caches:
                        self._teacher_caches[network].ask(images, epoch, position)
                    else:
                        network(images)


def _frozen_of(member: Member) -> Iterator[Frozen]:
    return (module for module in member.method.modules() if isinstance(module, Frozen))
