"""Every script of benchmarks/ runs, at its smallest, and prints what it promises."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SMALL = ["--pair", "cnn_4_4:cnn_2_2", "--steps", "1"]

RUNS: dict[str, tuple[list[str], str]] = {
    "inference": (
        ["--pair", "cnn_4_4:cnn_2_2", "--rounds", "1", "--seconds", "0.01", "--batch", "1"],
        r"the student is (\d+\.\d+) times faster",
    ),
    "overhead": ([*SMALL, "--rounds", "2"], r"cnn_4_4:cnn_2_2, bf16: kdbench / by hand (\d+\.\d+) \("),
    "planning": (["2", "3", "2"], r"the whole plan, every cell checked and in order: 15 runs in .* s, ([\d,]+) runs/s"),
    "replay": ([*SMALL, "--epochs", "1", "--rounds", "1"], r"(\d+\.\d+) times"),
    "scale around": (["--runs", "10"], r"\n +16 +.* (\d+\.\d+) s\n$"),
    "scale cohort": ([*SMALL, "--sizes", "1", "2"], r"\n +2 .* (\d+\.\d+)\n$"),
    "sweep": ([*SMALL, "--rounds", "1", "--settings", "2"], r"kdbench is faster than plain loop .* (\d+\.\d+) times"),
}


def test_every_script_is_run_here() -> None:
    assert {path.stem for path in BENCHMARKS.glob("*.py")} == {name.split()[0] for name in RUNS}


@pytest.mark.parametrize("name", RUNS)
def test_a_script_prints_its_ratio(name: str, tmp_path: Path) -> None:
    arguments, promised = RUNS[name]
    script, *part = name.split()
    done = subprocess.run(
        [sys.executable, BENCHMARKS / f"{script}.py", *part, *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    found = re.search(promised, done.stdout)
    assert found is not None, done.stdout
    assert float(found[1].replace(",", "")) > 0
    assert list(tmp_path.iterdir()) == []
