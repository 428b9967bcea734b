"""Time the quickstart from the command to the table, phase by phase.

    python benchmarks/start.py [--rounds 3] [--seeds N] [--epochs N]

Each round runs `kdbench run` on `matrices/quickstart.toml` in an empty folder, after a first round that is not counted:
files are in the cache of the system then, and the digits are decoded. Prints the median and the range of each phase,
and of the CPU time of the command and its workers, which depends less on what else the machine does.

Requirement: 20 s on two cores that do nothing else.
"""

import argparse
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from command_log import CommandLog, logged_command, read_log
from processes import CORES, print_line

from kdbench.results import Store

QUICKSTART = Path(__file__).resolve().parents[1] / "matrices" / "quickstart.toml"
TOTAL, CPU_TIME = "from the command to the table", "CPU time of the command and its workers"


def main() -> None:
    """Print the seconds of each phase."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seeds", type=int, help="the number of seeds; default: those of the quickstart")
    parser.add_argument("--epochs", type=int, help="the epochs of every run; default: those of the quickstart")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        matrix = Path(folder) / "quickstart.toml"
        matrix.write_text(_shortened(QUICKSTART.read_text(encoding="utf-8"), args.seeds, args.epochs), encoding="utf-8")
        rounds = [_run(Path(folder), index) for index in range(args.rounds + 1)][1:]
    for phase in rounds[0]:
        values = [one[phase] for one in rounds]
        print_line(f"{statistics.median(values):7.2f} s ({min(values):.2f} to {max(values):.2f})  {phase}")


def _shortened(matrix: str, seeds: int | None, epochs: int | None) -> str:
    if seeds is not None:
        matrix = re.sub(r"^seeds = .*", f"seeds = {list(range(seeds))}", matrix, flags=re.MULTILINE)
    if epochs is not None:
        matrix = re.sub(r"^epochs = .*", f"epochs = {epochs}", matrix, flags=re.MULTILINE)
    return matrix


def _run(folder: Path, index: int) -> Mapping[str, float]:
    """Run the matrix in a folder; return the seconds of each phase."""
    results, log = folder / f"results-{index}", folder / f"events-{index}"
    arguments = ["run", "quickstart.toml", "--results", str(results), "--reports", str(folder / "reports")]
    here = Path(__file__).resolve().parent
    path = os.pathsep.join(map(str, (here, here.parent, *sys.path[1:])))
    environment = {**os.environ, "PYTHONPATH": path, "KDBENCH_CACHE": str(folder / "cache")}
    used, start = _cpu_seconds(), time.time()
    command = logged_command(arguments, log)
    subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, check=True)
    end = time.time()
    return _phases(read_log(log, Store(results), start, end, CORES)) | {CPU_TIME: _cpu_seconds() - used}


def _phases(log: CommandLog) -> dict[str, float]:
    submitted, ended = log.training_span
    started = min(job.started for job in log.jobs)
    return {
        "imports and planning, while the workers start": submitted,
        "until the first worker has started its first cohort": started - submitted,
        "training": ended - started,
        "timing of the inference": log.timed - ended,
        "tables and report": log.seconds - log.timed,
        TOTAL: log.seconds,
    }


def _cpu_seconds() -> float:
    """Return the CPU time of all child processes that have ended, and of their children."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
