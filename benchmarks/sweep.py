"""Nine configurations of vanilla distillation (alpha x T): kdbench, a plain PyTorch loop, and torchdistill.

    python benchmarks/sweep.py [--pair TEACHER:STUDENT ...] [--precision bf16] [--steps 4] [--rounds 3]
    python benchmarks/sweep.py --device cuda --cuda-graphs [--compile] [--steps 200] [--loaders 8]

The plain loop is that of published repositories: one configuration at a time, torchvision's transforms in a DataLoader,
float32, contiguous. It is given the machine in both ways, one process on all cores and one process a core, and the
faster counts; so is torchdistill (from the package index, extra `bench`; left out where it is not installed). kdbench
trains its cohort on one process a core. Images are random, of CIFAR-100's shape: their content does not matter here.

On a GPU each contender is one process. kdbench trains all configurations as one cohort; the others one configuration at a time,
with torch's own defaults for TF32 (cuDNN's convolutions may use it, matrix products not), and with `--loaders` worker
processes that stay from one configuration to the next and hand over pinned memory. There the seconds of an epoch of 50,000
images are told too, worked out from the steps that were timed: of the whole cohort, and of each configuration of the others.

All contenders run in every round, one after the other; printed are the medians and the ratios of each round. The first
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
from children import CORES, seconds, serve, spread, start, tell
from contenders import Work, kdbench, plain, torchdistill
from vanilla import BATCH

from kdbench.queue.executors.base import worker_environment

PAIRS = ("wrn_40_2:wrn_16_2", "resnet32x4:resnet8x4")
ALPHAS, TEMPERATURES = (0.1, 0.5, 0.9), (2.0, 4.0, 8.0)
SETTINGS = [(alpha, temperature) for alpha in ALPHAS for temperature in TEMPERATURES]
STEPS = {"cpu": 4, "cuda": 200}
LOADERS = {"cpu": 0, "cuda": min(8, CORES)}
EPOCH = 50_000 // BATCH  # steps


@final
@dataclass(frozen=True)
class Way:
    """A contender, and how it is given the machine."""

    name: str
    processes: int
    threads: int


def main() -> None:
    """Run the contenders in turn, or (as a child) one share of one of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pair", nargs="+", default=PAIRS)
    parser.add_argument("--precision", choices=["bf16", "fp32"], default="bf16")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--steps", type=int, help="default: 4 on the processor, 200 on a GPU")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--configurations", type=int, default=len(SETTINGS))
    parser.add_argument("--loaders", type=int, help="default: none on the processor, 8 or one a core on a GPU")
    parser.add_argument("--compile", action="store_true", help="kdbench trains through torch.compile")
    parser.add_argument("--cuda-graphs", action="store_true", help="kdbench records its steps, on a GPU")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        _child(**json.loads(asked.child))
        return
    if asked.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("--device cuda needs a GPU that torch can use, and there is none")
    steps = asked.steps or STEPS[asked.device]
    loaders = LOADERS[asked.device] if asked.loaders is None else asked.loaders
    for pair in asked.pair:
        configurations, ways = SETTINGS[: asked.configurations], (asked.compile, asked.cuda_graphs)
        work = Work(pair, asked.precision, steps, configurations, asked.device, loaders, *ways)
        _compare(work, asked.rounds)


def _compare(work: Work, rounds: int) -> None:
    contenders = _contenders(work.device)
    taken: dict[Way, list[float]] = {way: [] for several in contenders.values() for way in several}
    for _ in range(rounds):
        for way, each in taken.items():
            each.append(_run(way, work))
    size = f"{len(work.configurations)} configurations x {work.steps} steps of {BATCH} images"
    ways = [name for name, asked in (("compiled", work.compile), ("recorded", work.cuda_graphs)) if asked]
    tell(f"{work.pair}, kdbench in {', '.join([work.precision, *ways])}, {size}, {_machine(work)}")
    for way, each in taken.items():
        told = _an_epoch(way, each, work) if work.device == "cuda" else ""
        tell(f"  {way.name:12} {way.processes} x {way.threads} threads: {spread(each, ' s')}{told}")
    (own,) = contenders.pop("kdbench")
    for name, several in contenders.items():
        best = min(several, key=lambda way: statistics.median(taken[way]))
        ratios = [other / ours for other, ours in zip(taken[best], taken[own], strict=True)]
        faster = " (at its faster way)" if len(several) > 1 else ""
        tell(f"  kdbench is faster than {name}{faster} {spread(ratios, ' times')}")


def _contenders(device: str) -> dict[str, list[Way]]:
    names = {"plain loop": "plain", "torchdistill": "torchdistill"}
    if not importlib.util.find_spec("torchdistill"):
        tell("torchdistill is not installed (pip install 'kdbench[bench]'): left out")
        del names["torchdistill"]
    if device == "cuda":
        return {"kdbench": [Way("kdbench", 1, 1)]} | {name: [Way(key, 1, CORES)] for name, key in names.items()}
    others = {name: [Way(key, CORES, 1), Way(key, 1, CORES)] for name, key in names.items()}
    return {"kdbench": [Way("kdbench", CORES, 1)]} | others


def _machine(work: Work) -> str:
    if work.device == "cpu":
        return f"{CORES} cores"
    return f"{torch.cuda.get_device_name()}, {CORES} cores, {work.loaders} loaders"


def _an_epoch(way: Way, taken: Sequence[float], work: Work) -> str:
    """Seconds of an epoch: of the whole cohort, or of one configuration after the other."""
    parts, what = (
        (1, f"all {len(work.configurations)} configurations")
        if way.name == "kdbench"
        else (len(work.configurations), "each")
    )
    return f"; an epoch {spread([one * EPOCH / work.steps / parts for one in taken], ' s')} for {what}"


def _run(way: Way, work: Work) -> float:
    """Seconds from the moment when all processes are ready until the last is done."""
    shares = [list(work.configurations[first :: way.processes]) for first in range(way.processes)]
    usual = {"OMP_NUM_THREADS": str(way.threads), "MKL_NUM_THREADS": str(way.threads)}
    around = worker_environment(way.threads) if way.name == "kdbench" else usual
    told = {"name": way.name, "threads": way.threads, **asdict(work)}
    return seconds(way.name, [start({**told, "configurations": share}, around) for share in shares if share])


def _child(name: str, threads: int, **told: Any) -> None:
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    work = Work(**told)
    begin = {"kdbench": kdbench, "plain": plain, "torchdistill": torchdistill}[name](work)
    _wait_for(work.device)

    def train() -> None:
        begin()
        _wait_for(work.device)

    serve(train)


def _wait_for(device: str) -> None:
    """Until a GPU has done all that it was given."""
    if device == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
