"""The display of a plan's progress, in a terminal, in a notebook and as lines."""

from kdbench.progress.progress import INTERVAL, OVERVIEW_INTERVAL, Progress

__all__ = ["INTERVAL", "OVERVIEW_INTERVAL", "Progress"]
