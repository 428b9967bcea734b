"""Train nine configurations of vanilla distillation (alpha x T) with kdbench, a plain PyTorch loop, and torchdistill.

    python benchmarks/sweep.py [--pair TEACHER:STUDENT ...] [--precision bf16] [--steps 4] [--rounds 3]
    python benchmarks/sweep.py --device cuda --cuda-graphs [--compile] [--steps 200] [--loaders 8]

The plain loop is that of published repositories: one configuration at a time, torchvision's transforms in a DataLoader,
float32, contiguous memory format. It runs once as one process on all cores and once as one process per core; the faster
one is reported. So does torchdistill (extra `bench`; skipped if it is not installed). kdbench trains its cohort
with one process per core. Images are random, with CIFAR-100's shape: their content does not matter here.

On a GPU each contender is one process. kdbench trains all configurations as one cohort. The others train one
configuration at a time, with torch's defaults for TF32 (on for cuDNN's convolutions, off for matrix products), and
with `--loaders` persistent worker processes and pinned memory. The seconds of an epoch of 50,000 images, extrapolated
from the timed steps, are printed as well: of the complete cohort, and of each configuration of the others.

All contenders run in every round, one after the other. It prints the medians and the ratios of all rounds. The first
steps of every process are not timed.
"""

import argparse
import importlib.util
import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, final

import torch
from contenders import Work, kdbench, plain, torchdistill
from processes import CORES, format_spread, print_line, run_child, start_child, time_children
from vanilla import BATCH

from kdbench.queue.executors.base import worker_environment

PAIRS = ("wrn_40_2:wrn_16_2", "resnet32x4:resnet8x4")
ALPHAS, TEMPERATURES = (0.1, 0.5, 0.9), (2.0, 4.0, 8.0)
CONFIGURATIONS = [(alpha, temperature) for alpha in ALPHAS for temperature in TEMPERATURES]
STEPS = {"cpu": 4, "cuda": 200}
LOADERS = {"cpu": 0, "cuda": min(8, CORES)}
EPOCH = 50_000 // BATCH  # steps


@final
@dataclass(frozen=True)
class Setup:
    """A contender, and its number of processes and threads."""

    name: str
    processes: int
    threads: int


def main() -> None:
    """Run the contenders in turn, or (as a child) one share of one of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pair", nargs="+", default=PAIRS)
    parser.add_argument("--precision", choices=["bf16", "fp32"], default="bf16")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--steps", type=int, help="default: 4 on the CPU, 200 on a GPU")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--configurations", type=int, default=len(CONFIGURATIONS))
    parser.add_argument("--loaders", type=int, help="default: 0 on the CPU, on a GPU 8 or the number of cores")
    parser.add_argument("--compile", action="store_true", help="kdbench trains through torch.compile")
    parser.add_argument(
        "--cuda-graphs", action="store_true", help="kdbench captures its steps as CUDA graphs, on a GPU"
    )
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        _child(**json.loads(args.child))
        return
    if args.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("--device cuda needs a GPU, but torch finds none")
    steps = args.steps or STEPS[args.device]
    loaders = LOADERS[args.device] if args.loaders is None else args.loaders
    for pair in args.pair:
        configurations, options = CONFIGURATIONS[: args.configurations], (args.compile, args.cuda_graphs)
        work = Work(pair, args.precision, steps, configurations, args.device, loaders, *options)
        _compare(work, args.rounds)


def _compare(work: Work, rounds: int) -> None:
    contenders = _contenders(work.device)
    times: dict[Setup, list[float]] = {setup: [] for several in contenders.values() for setup in several}
    for _ in range(rounds):
        for setup, each in times.items():
            each.append(_run(setup, work))
    size = f"{len(work.configurations)} configurations x {work.steps} steps of {BATCH} images"
    options = [name for name, is_on in (("compiled", work.compile), ("CUDA graphs", work.cuda_graphs)) if is_on]
    print_line(f"{work.pair}, kdbench in {', '.join([work.precision, *options])}, {size}, {_machine(work)}")
    for setup, each in times.items():
        epoch = _format_epoch(setup, each, work) if work.device == "cuda" else ""
        print_line(f"  {setup.name:12} {setup.processes} x {setup.threads} threads: {format_spread(each, ' s')}{epoch}")
    (own,) = contenders.pop("kdbench")
    for name, several in contenders.items():
        best = min(several, key=lambda setup: statistics.median(times[setup]))
        ratios = [other / ours for other, ours in zip(times[best], times[own], strict=True)]
        faster = " (its faster setup)" if len(several) > 1 else ""
        print_line(f"  kdbench is faster than {name}{faster} {format_spread(ratios, ' times')}")


def _contenders(device: str) -> dict[str, list[Setup]]:
    names = {"plain loop": "plain", "torchdistill": "torchdistill"}
    if not importlib.util.find_spec("torchdistill"):
        print_line("torchdistill is not installed and skipped (pip install 'kdbench[bench]')")
        del names["torchdistill"]
    if device == "cuda":
        return {"kdbench": [Setup("kdbench", 1, 1)]} | {name: [Setup(key, 1, CORES)] for name, key in names.items()}
    others = {name: [Setup(key, CORES, 1), Setup(key, 1, CORES)] for name, key in names.items()}
    return {"kdbench": [Setup("kdbench", CORES, 1)]} | others


def _machine(work: Work) -> str:
    if work.device == "cpu":
        return f"{CORES} cores"
    return f"{torch.cuda.get_device_name()}, {CORES} cores, {work.loaders} loaders"


def _format_epoch(setup: Setup, times: Sequence[float], work: Work) -> str:
    """Format the seconds of an epoch: of the complete cohort, or of one configuration."""
    parts, what = (
        (1, f"all {len(work.configurations)} configurations")
        if setup.name == "kdbench"
        else (len(work.configurations), "each")
    )
    return f"; an epoch {format_spread([one * EPOCH / work.steps / parts for one in times], ' s')} for {what}"


def _run(setup: Setup, work: Work) -> float:
    """Return the seconds from the moment when all processes are ready until the last one is done."""
    shares = [list(work.configurations[first :: setup.processes]) for first in range(setup.processes)]
    default = {"OMP_NUM_THREADS": str(setup.threads), "MKL_NUM_THREADS": str(setup.threads)}
    environment = worker_environment(setup.threads) if setup.name == "kdbench" else default
    arguments = {"name": setup.name, "threads": setup.threads, **asdict(work)}
    return time_children(
        setup.name, [start_child({**arguments, "configurations": share}, environment) for share in shares if share]
    )


def _child(name: str, threads: int, **arguments: Any) -> None:
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    work = Work(**arguments)
    train_all = {"kdbench": kdbench, "plain": plain, "torchdistill": torchdistill}[name](work)
    _synchronize(work.device)

    def train() -> None:
        train_all()
        _synchronize(work.device)

    run_child(train)


def _synchronize(device: str) -> None:
    """Wait until a GPU has finished its work."""
    if device == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
