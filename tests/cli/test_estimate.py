import json
import subprocess
import sys
from pathlib import Path

import pytest

MATRIX = """
name = "small"
datasets = ["digits"]
pairs = [{ teacher = "cnn_4_4", student = "mlp_8" }]
[recipe]
epochs = 2
precision = "fp32"
[methods.vanilla]
[run]
devices = "cpu"
workers = 1
teacher_cache_gb = 0.5
"""


def estimate(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    file = folder / "small.toml"
    file.write_text(MATRIX)
    command = [sys.executable, "-m", "kdbench", "plan", str(file), "--estimate", *options]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_hours_and_disk_are_printed(tmp_path: Path) -> None:
    done = estimate(tmp_path)
    assert done.returncode == 0, done.stderr
    assert "digits: cnn_4_4 -> mlp_8; vanilla; batch 128x1x8x8" in done.stdout
    time, disk, not_counted = done.stdout.splitlines()[-3:]
    assert time.startswith("time: about ")
    assert " on 1 worker (cpu), " in time
    assert disk.startswith("disk: ")
    assert disk.endswith("at most 500.0 MB of cached teacher outputs")
    assert not_counted.startswith("Not counted: ")
    assert [path.name for path in tmp_path.iterdir()] == ["small.toml"]


@pytest.mark.slow
def test_json_holds_the_same(tmp_path: Path) -> None:
    found = json.loads(estimate(tmp_path, "--json").stdout)
    assert sum(kind["runs"] for kind in found["kinds"]) == 3
    assert found["wall_hours"] == pytest.approx(found["busy_hours"])
    assert found["teacher_cache_bytes"] == 500_000_000
