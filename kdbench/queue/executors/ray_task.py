"""What runs in the processes of a Ray cluster: the mailbox between the executor and its tasks, and a task."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, final

from kdbench.events import RemoteEvent

RunJob = Callable[..., None]  # kdbench.worker.remote.run_remote_job


@final
class Mailbox:
    """Holds events until the executor takes them, and requests for the tasks; runs in its own process."""

    def __init__(self) -> None:
        self._messages: list[tuple[int, RemoteEvent]] = []
        self._requests: dict[int, set[str]] = {}  # job -> the runs that it is to give away

    def put(self, job: int, message: RemoteEvent) -> None:
        """Add an event of a job."""
        self._messages.append((job, message))

    def take(self) -> list[tuple[int, RemoteEvent]]:
        """Return the events since the last call, each with its job."""
        messages, self._messages = self._messages, []
        return messages

    def request(self, job: int, runs: Sequence[str]) -> None:
        """Add runs that a job is to give away."""
        self._requests.setdefault(job, set()).update(runs)

    def requested(self, job: int) -> set[str]:
        """Return the runs that a job is to give away."""
        return self._requests.get(job, set())


def run_task(
    mailbox: Any, job: int, run_job: RunJob, arguments: tuple[str, Mapping[str, Any], str, int], *inputs: Any
) -> None:
    """Run a job on any machine of the cluster; return when the mailbox has all of its events."""
    ray = importlib.import_module("ray")
    sent: list[Any] = []
    version, content, device, threads = arguments

    def send(message: RemoteEvent) -> None:
        sent.append(mailbox.put.remote(job, message))

    def requested() -> set[str]:
        runs: set[str] = ray.get(mailbox.requested.remote(job))
        return runs

    run_job(version, content, inputs, device, threads, send, requested)
    ray.get(sent)
