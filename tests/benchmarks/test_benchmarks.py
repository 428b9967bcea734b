"""Every script of benchmarks/ runs with its smallest sizes and prints its result."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
PAIR = ["--pair", "cnn_4_4:cnn_2_2"]
SMALL = [*PAIR, "--steps", "1"]
SWEEP = ["--alphas", "0.5", "--temperatures", "2"]

RUNS: dict[str, tuple[list[str], str]] = {
    "inference": (
        [*PAIR, "--rounds", "1", "--seconds", "0.01", "--batch", "1"],
        r"the student is (\d+\.\d+) times faster",
    ),
    "end_to_end": (
        [*PAIR, "--precision", "fp32", "--images", "128", "--epochs", "1", "--seeds", "1", *SWEEP],
        r"from command to report, kdbench in fp32 is faster than the plain loop (\d+\.\d+) times",
    ),
    "large_data": (
        ["--gib", "0.002", "--small", "0.001", "--side", "16", "--steps", "1", "--epochs", "2"],
        r"\na step takes (\d+\.\d+) times as long with 0.002 GiB as with 0.001 GiB\n$",
    ),
    "overhead": ([*SMALL, "--rounds", "2"], r"cnn_4_4:cnn_2_2, bf16: kdbench / by hand (\d+\.\d+) \("),
    "planning": (["2", "3", "2"], r"plan with all checks: 15 runs in .* s, ([\d,]+) runs/s"),
    "teacher_cache": ([*SMALL, "--epochs", "1", "--rounds", "1"], r"(\d+\.\d+) times"),
    "scale commands": (["--runs", "10"], r"\n +16 +.* (\d+\.\d+) s\n$"),
    "scale cohort": ([*SMALL, "--sizes", "1", "2"], r"\n +2 .* (\d+\.\d+)\n$"),
    "schedule": (
        ["--slots", "2", "--matrices", "1", "--random", "1"],
        r"\n1 random matrices .* geometric mean (\d+\.\d+), worst",
    ),
    "significance": (["--tables", "20"], r"smallest p = (0\.\d+)\n$"),
    "start": (
        ["--rounds", "1", "--seeds", "1", "--epochs", "1"],
        r"\n +(\d+\.\d+) s \(.*\)  from the command to the table\n",
    ),
    "step": (
        ["--network", "cnn_2_2", "--steps", "1", "--roof-channels", "2"],
        r"\n\| cnn_2_2, fp32 \|(?: \d+ \|){4} (\d+\.\d+) times \|\n$",
    ),
    "sweep": (
        [*SMALL, "--rounds", "1", "--configurations", "2"],
        r"kdbench is faster than plain loop .* (\d+\.\d+) times",
    ),
    "threads": (
        [*SMALL, "--rounds", "1"],
        r"\n +1 workers x .* (\d+\.\d+) times .* as fast as one thread per worker\n$",
    ),
}
GPU_ARGUMENTS = ["--device", "cuda", "--loaders", "1", *SMALL, "--rounds", "1", "--configurations", "2"]


def test_every_script_is_tested() -> None:
    scripts = {path.stem for path in BENCHMARKS.glob("*.py") if "\ndef main(" in path.read_text(encoding="utf-8")}
    assert scripts == {name.split()[0] for name in RUNS}


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_a_script_prints_its_result(name: str, tmp_path: Path) -> None:
    arguments, pattern = RUNS[name]
    script, *part = name.split()
    done = _run(tmp_path, script, *part, *arguments)
    assert done.returncode == 0, done.stderr
    match = re.search(pattern, done.stdout)
    assert match is not None, done.stdout
    assert float(match[1].replace(",", "")) > 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_sweep_on_a_gpu_needs_a_gpu(tmp_path: Path) -> None:
    done = _run(tmp_path, "sweep", *GPU_ARGUMENTS)
    assert done.returncode == 1
    assert done.stderr == "--device cuda needs a GPU, but torch finds none\n"


@pytest.mark.slow
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_sweep_on_a_gpu_prints_the_seconds_of_an_epoch(tmp_path: Path) -> None:
    done = _run(tmp_path, "sweep", *GPU_ARGUMENTS)
    assert done.returncode == 0, done.stderr
    assert re.search(r"kdbench +1 x 1 threads: .* an epoch \d+\.\d+ s .* for all 2 configurations\n", done.stdout), (
        done.stdout
    )
    assert re.search(r"plain +1 x \d+ threads: .* an epoch \d+\.\d+ s .* for each\n", done.stdout), done.stdout


def _run(folder: Path, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, BENCHMARKS / f"{script}.py", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
