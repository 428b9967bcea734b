"""A worker process: takes jobs as lines of JSON on standard input, tells how they go on standard output.

A job is `{"id": n, "train": [spec, ...], "options": {...}}` or `{"id": n, "time": spec}`. When standard input ends, so
does the worker, at once: nobody trains on unseen. What that promise needs is imported here, torch is not.
"""

import argparse
import json
import os
import queue
import sys
import threading
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from kdbench.events import Event, JobEnded, WorkerReady, to_json
from kdbench.worker import watchdog

Jobs = queue.SimpleQueue[Mapping[str, Any]]


def main() -> None:
    """Serve jobs until standard input ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--results", required=True)
    parser.add_argument("--device", required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--log", type=Path, help="the file that standard error goes to")
    options = parser.parse_args()
    watchdog.watch()
    events, jobs = _own_standard_output(), _listen()

    def emit(event: Event) -> None:
        print(json.dumps(to_json(event)), file=events, flush=True)

    try:
        from kdbench.worker.job_runner import JobRunner

        server = JobRunner(options.results, options.device, options.threads, options.log, emit)
        emit(WorkerReady())
        while True:
            job = jobs.get()
            server.run_job(job)
            emit(JobEnded(job["id"]))
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)  # the thread that reads standard input would keep an ordinary exit waiting


def _own_standard_output() -> TextIO:
    """Keep standard output for events; what anybody else prints goes to the log, with standard error."""
    events = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return events


def _listen() -> Jobs:
    jobs: Jobs = queue.SimpleQueue()

    def read() -> None:
        for line in sys.stdin:
            jobs.put(json.loads(line))
        os._exit(0)

    threading.Thread(target=read, daemon=True).start()
    return jobs


if __name__ == "__main__":
    main()
