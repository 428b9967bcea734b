"""How long the commands took that trained a matrix, how busy their workers were, and what one run at a time takes."""

from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdbench.formatting import count_of, format_duration, format_range
from kdbench.results import MatrixIndex, Store
from kdbench.results.sessions import Session, read_sessions

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("train_seconds", "epochs_run", "host")
Rows = Mapping[str, Mapping[str, Any]]  # the row of each run that is done, by its id


def describe_matrix_sessions(folder: Path, index: MatrixIndex, frame: "pd.DataFrame") -> str:
    """Return `describe_sessions` of all sessions of a matrix; empty without any.

    Args:
        folder: the folder of the sessions.
        index: the matrix.
        frame: what `load_results` returns for the results folder.
    """
    sessions = [session for session in read_sessions(folder, index.name) if session.has_trained]
    if not sessions:
        return ""
    done = frame[frame["status"] == "done"].reindex(columns=["run_id", *COLUMNS])
    rows = {str(run): dict(zip(COLUMNS, values, strict=True)) for run, *values in done.itertuples(index=False)}
    return describe_sessions(sessions, rows, index.run_ids)


def describe_sessions(sessions: Sequence[Session], rows: Rows, run_ids: Iterable[str]) -> str:
    """Return the wall time of sessions, the busy share of their slots, and the time of one run after the other.

    The time of one run after the other is that of the epochs that these sessions trained, in the runs' own seconds:
    without evaluation, and with everything in full that runs of a cohort share.

    Args:
        sessions: those of a matrix that trained something; at least one.
        rows: the rows of the runs that are done.
        run_ids: the runs of the matrix.
    """
    done = {run for session in sessions for run in session.done}
    failed = {run for session in sessions for run in session.failed} - done
    trained = {run for session in sessions for run in session.epochs} | done
    count = count_of(len(done | failed), "run") + (f" ({len(failed)} failed)" if failed else "")
    text = f"{count} in {format_duration(_wall_seconds(sessions))}{_describe_commands(sessions)}"
    busy = sum(session.busy_seconds for session in sessions)
    offered = sum(session.slots * session.wall_seconds for session in sessions)
    parts = [f"{text} on {_describe_slots(sessions)}, {100 * min(1.0, busy / offered) if offered else 0:.0f} % busy"]
    seconds = {run: one for run in trained if (one := _seconds_alone(run, sessions, rows)) is not None}
    if seconds:
        parts.append(f"one at a time without sharing: about {format_duration(sum(seconds.values()))}")
        hosts = {rows[run].get("host") for run in seconds}
        parts[-1] += f", measured on {len(hosts)} machines" if len(hosts) > 1 else ""
    if seconds and (unknown := trained - set(seconds)):
        parts[-1] += f" (without {count_of(len(unknown), 'run')} that failed or did not finish)"
    if others := [run for run in run_ids if run in rows and run not in trained]:
        parts.append(f"{count_of(len(others), 'other run')} trained by other commands")
    return "; ".join(parts)


def done_rows(store: Store, run_ids: Iterable[str]) -> Rows:
    """Return the rows of the runs that are done."""
    results = {run: result for run in run_ids if (result := store.result(run)) is not None}
    return {run: result.get("row", {}) for run, result in results.items() if result["status"] == "done"}


def _wall_seconds(sessions: Sequence[Session]) -> float:
    """Return the time in which at least one of the sessions ran."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted((s.started.timestamp(), s.started.timestamp() + s.wall_seconds) for s in sessions):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def _describe_commands(sessions: Sequence[Session]) -> str:
    """Return the number of commands, unless it is one, and how those ended that did not train everything."""
    count = {
        "interrupted": sum(session.is_interrupted for session in sessions),
        "killed": sum(not session.has_ended and not session.is_running for session in sessions),
        "still running": sum(session.is_running for session in sessions),
    }
    if len(sessions) == 1:
        notes = [end for end, number in count.items() if number]
    else:
        notes = [f"{len(sessions)} commands", *(f"{number} {end}" for end, number in count.items() if number)]
    return f" ({', '.join(notes)})" if notes else ""


def _describe_slots(sessions: Sequence[Session]) -> str:
    slots, hosts = [session.slots for session in sessions], {session.host for session in sessions}
    workers = f"{format_range(slots)} worker{'' if set(slots) == {1} else 's'}"
    return f"{len(hosts)} machines with {workers}" if len(hosts) > 1 else workers


def _seconds_alone(run: str, sessions: Iterable[Session], rows: Rows) -> float | None:
    """Return the part of a run's training time that the epochs of these sessions took; None if the run is not done."""
    seconds, epochs = (_number(rows.get(run, {}).get(column)) for column in ("train_seconds", "epochs_run"))
    if seconds is None:
        return None
    trained = sum(session.epochs.get(run, 0) for session in sessions)
    return seconds * min(1.0, trained / epochs) if epochs else seconds  # a killed command repeats epochs: count one


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and isfinite(value) and value >= 0 else None
