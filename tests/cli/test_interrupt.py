"""`kdbench run` as a process that is interrupted."""

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from processes import processes_in

from kdbench.queue.signals import SIGNALS
from kdbench.results import Store
from kdbench.results.sessions import read_sessions

MATRIX = """
name = "endless"
datasets = ["digits"]
pairs = [{ teacher = "mlp_12", student = "mlp_8" }]

[recipe]
epochs = 100000
batch_size = 50
precision = "fp32"
train_samples = 100

[run]
devices = "cpu"
workers = 1
checkpoint_minutes = 0
"""


def wait_for_training(text: Path, process: "subprocess.Popen[bytes]") -> None:
    """Wait until a worker has written a checkpoint."""
    until = time.monotonic() + 90
    while not list(text.parent.glob("results/runs/*/checkpoint.pt")):
        assert process.poll() is None, text.read_text()
        assert time.monotonic() < until, text.read_text()
        time.sleep(0.1)


@pytest.mark.slow
def test_an_interrupted_run_writes_tables_and_leaves_no_process(tmp_path: Path) -> None:
    (tmp_path / "endless.toml").write_text(MATRIX)
    text = tmp_path / "output"
    start = "from kdbench.__main__ import main; main()"
    command = [sys.executable, "-c", start, "run", "endless.toml", "--results", str(tmp_path / "results")]
    with text.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output) as process:
        try:
            wait_for_training(text, process)
            (running,) = status_of(tmp_path)["endless"]["sessions"]
            sent = time.monotonic()
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=60) == 130, text.read_text()
            assert time.monotonic() - sent < 15
        finally:
            process.kill()
    assert "stopping: workers exit within 5 s" in text.read_text()
    assert text.read_text().endswith("stopped; rerun the same command to resume\n")
    assert processes_in(tmp_path) == []
    store = Store(tmp_path / "results")
    assert set(pq.read_table(store.root / "results.parquet")["status"].to_pylist()) == {"pending"}
    (run, *_) = [run for run in store.run_ids() if store.next_epoch(run)]
    assert re.search(r"attempt 1: .*\.log from byte \d+$", (store.folder(run) / "log.txt").read_text(), re.MULTILINE)
    assert running["pid"] == process.pid
    assert status_of(tmp_path)["endless"]["sessions"] == []
    (session,) = read_sessions(store.sessions)
    assert (session.has_ended, session.is_interrupted, run in session.epochs) == (True, True, True)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_while_python_exits_does_not_change_the_status(number: signal.Signals) -> None:
    start = (
        "import sys, threading, time; from kdbench.__main__ import main; sys.argv[1:] = ['--version']; "
        "threading.Thread(target=time.sleep, args=(2,)).start(); main()"
    )
    with subprocess.Popen([sys.executable, "-c", start], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith(b"kdbench ")
        time.sleep(0.5)  # the command has ended; Python waits for the thread
        process.send_signal(number)
        assert process.wait(timeout=60) == 0


def status_of(folder: Path) -> Any:
    """What `kdbench status --json` prints."""
    command = [sys.executable, "-m", "kdbench", "status", "--json", "--results", str(folder / "results")]
    return json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
