"""The worker's process: it must not outlive its coordinator."""

import json
import subprocess
import sys
import time

WAIT = 60


def test_a_worker_ends_when_its_standard_input_does(store, plan_of):
    (spec, *_) = plan_of({}, {"epochs": 100_000}).runs
    command = [sys.executable, "-m", "kdbench.run", "--results", store.root, "--device", "cpu", "--threads", "1"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as worker:
        worker.stdin.write(json.dumps({"train": [spec.to_json()]}) + "\n")
        worker.stdin.flush()
        assert json.loads(worker.stdout.readline()) == {"event": "ready"}
        event = json.loads(worker.stdout.readline())
        assert (event["event"], event["epoch"], event["runs"]) == ("epoch", 1, [spec.id])
        assert store.state(spec.id) == "running"
        closed = time.monotonic()
        worker.stdin.close()
        assert worker.wait(timeout=WAIT) == 0
        assert time.monotonic() - closed < 5
    assert store.state(spec.id) == "waiting"


def test_what_nobody_expects_ends_the_worker_with_its_reason(store):
    command = [sys.executable, "-m", "kdbench.run", "--results", store.root, "--device", "cpu", "--threads", "1"]
    job = json.dumps({"train": [{}]}) + "\n"
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as worker:
        worker.stdin.write(job)
        worker.stdin.flush()
        assert worker.wait(timeout=WAIT) == 1
        assert worker.stdout.read() == '{"event": "ready"}\n'
        assert worker.stderr.read().strip().endswith("KeyError: 'dataset'")
