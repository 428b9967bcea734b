"""Checkpoints of the members of a cohort: written when due, gone on from when there."""

import time
from collections.abc import Collection, Sequence
from typing import final

import torch
from torch import nn

from kdbench.errors import TrainingError
from kdbench.events import CheckpointSaved, EventHandler, RunResumed, WarningIssued
from kdbench.results import Store, checkpoints
from kdbench.results.files import writable
from kdbench.training.checkpoint import from_bytes, to_bytes
from kdbench.training.member import Member
from kdbench.worker.options import Options


@final
class Checkpoints:
    """Those of one cohort. `shared` are the frozen teachers, which no checkpoint repeats."""

    def __init__(self, store: Store, options: Options, shared: Collection[nn.Module], on_event: EventHandler) -> None:
        self._store = store
        self._options = options
        self._shared = shared
        self._emit = on_event
        self._last = time.monotonic()
        self._seconds: dict[str, float] = {}  # the shared work that a resumed run had behind it

    def resume(self, member: Member) -> int:
        """Bring a fresh member to where its newest whole checkpoint was made; gives the next epoch to train."""
        for path, head, content in checkpoints.read(self._store.folder(member.name)):
            try:
                if head is None:
                    raise TrainingError(f"{path.name} is corrupted")
                state = from_bytes(content)
                member.load_state_dict(state["member"], self._shared)
            except TrainingError as error:
                self._warn(member, f"{error}; the run goes on from the checkpoint before it, or from its start")
                with writable(path.parent):
                    path.unlink(missing_ok=True)  # or it would be kept as the one before the next
                continue
            self._seconds[member.name] = state["shared_seconds"]
            self._check_maker(member, head)
            self._emit(RunResumed(member.name, head.epoch + 1))
            return head.epoch
        return 0

    def shared_seconds(self, member: Member, since: float) -> float:
        """The shared work of a run in all its attempts; `since`: in this one."""
        return self._seconds.get(member.name, 0.0) + since

    def save_if_due(self, members: Sequence[Member], epoch: int, shared_seconds: float) -> None:
        """Write the state of all members at the beginning of `epoch`, if the last was long enough ago.

        Raises:
            ResultsError: a folder cannot be written to.
        """
        if not members or time.monotonic() - self._last < 60 * self._options.checkpoint_minutes:
            return
        for member in members:
            state = {
                "member": member.state_dict(self._shared),
                "shared_seconds": self.shared_seconds(member, shared_seconds),
            }
            checkpoints.write(self._store.folder(member.name), epoch, to_bytes(state), self._made_with(member))
        self._last = time.monotonic()
        self._emit(CheckpointSaved(tuple(member.name for member in members), epoch))

    def _check_maker(self, member: Member, head: checkpoints.Header) -> None:
        now = self._made_with(member)
        then = head.made_with
        changed = [f"{key} {then.get(key)} is now {now[key]}" for key in now if then.get(key) != now[key]]
        if changed:
            self._warn(member, f"goes on from a checkpoint made otherwise ({', '.join(changed)}): numbers may differ")

    def _warn(self, member: Member, text: str) -> None:
        self._store.log(member.name, f"warning: {text}")
        self._emit(WarningIssued(text, member.name))

    def _made_with(self, member: Member) -> dict[str, str | int]:
        return {
            "torch": torch.__version__,
            "device": member.device.type,
            "threads": torch.get_num_threads(),
            "compile": self._options.compile,
            "cuda_graphs": member.uses_cuda_graph,
        }
