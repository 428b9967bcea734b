"""Write the checkpoints of a cohort's members, and resume from them."""

import time
from collections.abc import Callable, Collection, Sequence
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
        self._earlier_seconds: dict[str, float] = {}  # shared work of a run's earlier attempts
        self._changes: dict[str, list[str]] = {}  # of the environment between a run's attempts

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
            self._earlier_seconds[member.name] = state["shared_seconds"]
            self._changes[member.name] = state["environment_changes"]
            self._check_environment(member, header)
            self._emit(RunResumed(member.name, header.epoch + 1))
            return header.epoch
        return 0

    def shared_seconds(self, member: Member, current: float) -> float:
        """Return the seconds of shared work of a run in all its attempts; `current` is those of this one."""
        return self._earlier_seconds.get(member.name, 0.0) + current

    def environment_changes(self, run: str) -> str | None:
        """Return how the environment of a run changed between its attempts, or None if it did not."""
        return "; ".join(self._changes.get(run, [])) or None

    def save_if_due(self, members: Sequence[Member], epochs: int, shared_seconds: Callable[[Member], float]) -> None:
        """Write checkpoints of all members after `epochs` epochs, unless the last ones are recent.

        `shared_seconds` returns the seconds of shared work of a member in this attempt.

        Raises:
            ResultsError: a folder cannot be written to.
        """
        if not members or time.monotonic() - self._last < 60 * self._options.checkpoint_minutes:
            return
        for member in members:
            state = {
                "member": member.state_dict(self._shared),
                "shared_seconds": self.shared_seconds(member, shared_seconds(member)),
                "environment_changes": self._changes.get(member.name, []),
            }
            checkpoints.write(self._store.folder(member.name), epochs, to_bytes(state), self._made_with(member))
        self._last = time.monotonic()
        self._emit(CheckpointSaved(tuple(member.name for member in members), epochs))

    def _check_environment(self, member: Member, header: checkpoints.Header) -> None:
        now = self._made_with(member)
        then = header.made_with
        changed = [f"{key} was {then.get(key)} and is {now[key]}" for key in now if then.get(key) != now[key]]
        if changed:
            text = ", ".join(changed)
            self._changes[member.name].append(f"after epoch {header.epoch}: {text}")
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
