"""The requests to give runs away that a worker has read. torch is not imported here."""

from collections.abc import Iterable
from typing import final


@final
class GiveAwayRequests:
    """The runs that the latest job with a request is to give away; one thread adds them, another one reads them."""

    def __init__(self) -> None:
        self._latest = (0, frozenset[str]())  # a job and its runs; replaced as a whole

    def add(self, job: int, runs: Iterable[str]) -> None:
        """Add runs that a job is to give away."""
        self._latest = (job, self.of(job) | frozenset(runs))

    def of(self, job: int) -> frozenset[str]:
        """Return the runs that a job is to give away."""
        latest, runs = self._latest
        return runs if latest == job else frozenset()
