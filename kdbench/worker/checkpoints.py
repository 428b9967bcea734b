"""Write the checkpoints of a cohort's members, and resume from them."""

import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import asdict, replace
from typing import final

import torch
from torch import nn

from kdbench.errors import TrainingError
from kdbench.events import CheckpointSaved, EventHandler, RunResumed, WarningIssued
from kdbench.results import Store, checkpoints
from kdbench.results.files import writable
from kdbench.training.checkpoint import from_bytes, to_bytes
from kdbench.training.member import Member
from kdbench.worker.environment import processor_model
from kdbench.worker.options import Options
from kdbench.worker.training_record import TrainingRecord


@final
class Checkpoints:
    """The checkpoints of one cohort.

    Args:
        store: the results folder.
        options: how often checkpoints are written.
        shared: the frozen teachers, whose weights are not in the checkpoints.
        on_event: called with `RunResumed`, `CheckpointSaved` and `WarningIssued`.
    """

    def __init__(self, store: Store, options: Options, shared: Collection[nn.Module], on_event: EventHandler) -> None:
        self._store = store
        self._options = options
        self._shared = shared
        self._emit = on_event
        self._last = time.monotonic()
        self._earlier: dict[str, TrainingRecord] = {}  # of the runs that were resumed

    def resume(self, member: Member) -> int:
        """Load a member's newest valid checkpoint and return the next epoch to train, counted from 0."""
        for path, header, content in checkpoints.read(self._store.folder(member.name)):
            try:
                if header is None:
                    raise TrainingError(f"{path.name} is corrupted")
                state = from_bytes(content)
                member.load_state_dict(state["member"], self._shared)
            except TrainingError as error:
                self._warn(
                    member, f"{error}; the run resumes from the checkpoint before it, if there is one, or starts again"
                )
                with writable(path.parent):
                    path.unlink(missing_ok=True)  # otherwise it would be kept as the previous one
                continue
            self._earlier[member.name] = TrainingRecord(**state["record"])
            self._check_environment(member, header)
            self._emit(RunResumed(member.name, header.epoch + 1))
            return header.epoch
        return 0

    def add_earlier(self, member: Member, current: TrainingRecord) -> TrainingRecord:
        """Return the record of a run in all its cohorts; `current` is that of this one."""
        earlier = self._earlier.get(member.name)
        return earlier.followed_by(current) if earlier else current

    def save_if_due(self, members: Sequence[Member], epochs: int, record: Callable[[Member], TrainingRecord]) -> None:
        """Write checkpoints of all members after `epochs` epochs, unless the last ones are recent.

        `record` returns the record of a member in all its cohorts.

        Raises:
            StorageError: a folder cannot be written to.
        """
        if not members or time.monotonic() - self._last < 60 * self._options.checkpoint_minutes:
            return
        self.save(members, epochs, record)
        self._last = time.monotonic()
        self._emit(CheckpointSaved(tuple(member.name for member in members), epochs))

    def save(self, members: Iterable[Member], epochs: int, record: Callable[[Member], TrainingRecord]) -> None:
        """Write checkpoints of some members now.

        Raises:
            StorageError: a folder cannot be written to.
        """
        for member in members:
            state = {"member": member.state_dict(self._shared), "record": asdict(record(member))}
            checkpoints.write(self._store.folder(member.name), epochs, to_bytes(state), self._made_with(member))

    def _check_environment(self, member: Member, header: checkpoints.Header) -> None:
        now = self._made_with(member)
        then = header.made_with
        changed = [f"{key} was {then.get(key)} and is {now[key]}" for key in now if then.get(key) != now[key]]
        if changed:
            text = ", ".join(changed)
            earlier = self._earlier[member.name]
            changes = (*earlier.environment_changes, f"after epoch {header.epoch}: {text}")
            self._earlier[member.name] = replace(earlier, environment_changes=changes)
            self._warn(member, f"resumes from a checkpoint of another environment ({text}); its numbers may differ")

    def _warn(self, member: Member, text: str) -> None:
        self._store.log(member.name, f"warning: {text}")
        self._emit(WarningIssued(text, member.name))

    def _made_with(self, member: Member) -> dict[str, str | int]:
        return {
            "torch": torch.__version__,
            "processor": processor_model(member.device),
            "threads": torch.get_num_threads(),
            "compile": self._options.compile,
            "cuda_graphs": member.uses_cuda_graph,
        }
