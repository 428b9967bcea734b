"""`kdbench run` as a process of its own that is told to stop."""

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq

from kdbench.results import Store

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


def when_training(text: Path, process: "subprocess.Popen[bytes]") -> None:
    """Wait until a worker has begun to train."""
    until = time.monotonic() + 90
    while not list(text.parent.glob("results/runs/*/checkpoint.pt")):
        assert process.poll() is None, text.read_text()
        assert time.monotonic() < until, text.read_text()
        time.sleep(0.1)


def processes_in(folder: Path) -> list[str]:
    """The processes that were started for the results in a folder and are still there."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_text()
        except OSError:
            continue
        if f"{folder}/results" in command:
            found.append(command.replace("\0", " "))
    return found


def test_a_run_that_is_told_to_stop_leaves_tables_and_nobody_behind(tmp_path: Path) -> None:
    (tmp_path / "endless.toml").write_text(MATRIX)
    text = tmp_path / "said"
    start = "from kdbench.cli.app import app; app(prog_name='kdbench')"
    command = [sys.executable, "-c", start, "run", "endless.toml", "--results", str(tmp_path / "results")]
    with text.open("wb") as said, subprocess.Popen(command, stdout=said, stderr=said) as process:
        try:
            when_training(text, process)
            told = time.monotonic()
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=60) == 130, text.read_text()
            assert time.monotonic() - told < 15
        finally:
            process.kill()
    assert "stopping: workers exit within 5 s" in text.read_text()
    assert text.read_text().endswith("stopped; run the same command again to go on\n")
    assert processes_in(tmp_path) == []
    store = Store(tmp_path / "results")
    assert set(pq.read_table(store.root / "results.parquet")["status"].to_pylist()) == {"pending"}
    (run, *_) = [run for run in store.run_ids() if store.next_epoch(run)]
    assert re.search(r"attempt 1: .*\.log from byte \d+$", (store.folder(run) / "log.txt").read_text(), re.MULTILINE)
