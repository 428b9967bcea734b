"""What the workers of a command do, and the record of it in the results folder."""

from kdbench.sessions.activity import Activity
from kdbench.sessions.recorder import SessionRecorder

__all__ = ["Activity", "SessionRecorder"]
