"""A worker process: takes jobs as lines of JSON on standard input, tells how they go on standard output.

A job is `{"train": [spec, ...]}` or `{"time": spec}`. When standard input ends, so does the worker, at once: nobody
trains on unseen.
"""

import argparse
import json
import os
import queue
import sys
import threading
import traceback
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any, TextIO

import torch

from kdbench.errors import KdbenchError
from kdbench.matrix import RunSpec
from kdbench.results import Store
from kdbench.run.cohort import CohortRun
from kdbench.run.memory import train_within_memory
from kdbench.run.timing import time_run


def main() -> None:
    """Serve jobs until standard input ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--results", required=True)
    parser.add_argument("--device", required=True)
    parser.add_argument("--threads", type=int, required=True)
    options = parser.parse_args()
    events = _own_standard_output()
    torch.set_num_threads(options.threads)
    torch.use_deterministic_algorithms(options.device == "cuda", warn_only=True)
    store, device = Store(options.results), torch.device(options.device)

    def report(event: Mapping[str, Any]) -> None:
        print(json.dumps(event), file=events, flush=True)

    jobs = _listen()
    try:
        while True:
            _serve(jobs.get(), store, device, report)
            report({"event": "idle"})
    except Exception:
        traceback.print_exc()
        os._exit(1)  # the thread that reads standard input would keep an ordinary exit waiting


def _serve(job: Mapping[str, Any], store: Store, device: torch.device, report: Any) -> None:
    """Do one job. What is wrong for every job is told; anything else ends this process and costs only its job."""
    try:
        if "time" in job:
            time_run(RunSpec.from_json(job["time"]), store, device)
        else:
            _train([RunSpec.from_json(spec) for spec in job["train"]], store, device, report, job.get("options", {}))
    except KdbenchError as error:
        report({"event": "error", "error": str(error)})


def _train(specs: list[RunSpec], store: Store, device: torch.device, report: Any, options: Mapping[str, Any]) -> None:
    """Train those of the runs that nobody else trains or has finished."""
    with ExitStack() as locks:
        mine = []
        for spec in specs:
            lock = store.claim(spec.id)
            if lock is None:
                report({"event": "taken", "run": spec.id})
                continue
            locks.callback(lock.release)
            if store.is_finished(spec.id):
                report({"event": "done", "run": spec.id})
            else:
                mine.append(spec)
                store.begin_attempt(spec.id)
        if mine:
            _train_claimed(mine, store, device, report, options)


def _train_claimed(
    specs: list[RunSpec], store: Store, device: torch.device, report: Any, options: Mapping[str, Any]
) -> None:
    def cohort(members: Sequence[RunSpec]) -> CohortRun:
        return CohortRun(members, store, device, report, options.get("checkpoint_minutes", 5.0))

    def train(members: Sequence[RunSpec]) -> None:
        waiting = [spec for spec in members if not store.is_finished(spec.id)]
        if waiting:
            cohort(waiting).train()

    def halved(members: Sequence[RunSpec]) -> None:
        report({"event": "memory", "runs": [spec.id for spec in members], "text": "out of memory: halved"})

    train_within_memory(specs, train, lambda spec, error: cohort([spec]).fail(spec, error), halved)


def _own_standard_output() -> TextIO:
    """Keep standard output for events; what anybody else prints goes to the log, with standard error."""
    events = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return events


def _listen() -> "queue.SimpleQueue[Mapping[str, Any]]":
    jobs: queue.SimpleQueue[Mapping[str, Any]] = queue.SimpleQueue()

    def read() -> None:
        for line in sys.stdin:
            jobs.put(json.loads(line))
        os._exit(0)

    threading.Thread(target=read, daemon=True).start()
    return jobs


if __name__ == "__main__":
    main()
