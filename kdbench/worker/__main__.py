"""A worker process: reads jobs as lines of JSON from standard input, writes events as lines of JSON to standard output.

A job is `{"id": n, "train": [spec, ...], "options": {...}}` or `{"id": n, "time": spec}`. While a job trains, a line
`{"give_away": [run, ...], "job": n}` requests that the worker gives these runs away at the end of the epoch. When
standard input ends, the worker exits at once, so that it never outlives the process that started it. torch is imported
only after the watchdog has started.
"""

import argparse
import json
import os
import queue
import sys
import threading
import traceback
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

from kdbench.events import Event, JobEnded, WorkerReady, to_json
from kdbench.worker.give_away_requests import GiveAwayRequests
from kdbench.worker.watchdog import start_watchdog

JobQueue = queue.SimpleQueue[Mapping[str, Any]]


def main() -> None:
    """Run jobs until standard input ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--results", required=True)
    parser.add_argument("--device", required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--log", type=Path, help="the file that standard error is redirected to")
    options = parser.parse_args()
    start_watchdog()
    output, jobs, requests = _take_standard_output(), JobQueue(), GiveAwayRequests()
    threading.Thread(target=_read, args=(sys.stdin, jobs, requests), daemon=True).start()

    def emit(event: Event) -> None:
        print(json.dumps(to_json(event)), file=output, flush=True)

    try:
        from kdbench.worker.job_runner import JobRunner
        from kdbench.worker.warm_up import warm_up

        runner = JobRunner(options.results, options.device, options.threads, options.log, emit, requests.of)
        warm_up(runner.device)
        emit(WorkerReady())
        while True:
            job = jobs.get()
            runner.run_job(job)
            emit(JobEnded(job["id"]))
    except BaseException:
        with suppress(OSError):  # the disk of the log is full
            traceback.print_exc()
            sys.stderr.flush()
        os._exit(1)  # an ordinary exit would wait for the thread that reads standard input


def _take_standard_output() -> TextIO:
    """Reserve standard output for events; everything else that is printed goes to standard error."""
    output = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return output


def _read(lines: TextIO, jobs: JobQueue, requests: GiveAwayRequests) -> None:
    """Read jobs and requests; exit the process at the end of standard input."""
    for line in lines:
        message = json.loads(line)
        if "give_away" in message:
            requests.add(message["job"], message["give_away"])
        else:
            jobs.put(message)
    os._exit(0)


if __name__ == "__main__":
    main()
