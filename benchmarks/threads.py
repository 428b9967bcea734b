"""Which split of the cores into workers and threads is fastest, for small networks and for large ones.

    python benchmarks/threads.py [--pair TEACHER:STUDENT ...] [--precision bf16] [--steps 8] [--rounds 5] [--configurations 4]

Vanilla distillation with batches of 64 random images of CIFAR-100's shape. Every split trains the same configurations for
the same steps: on n cores from n workers of one thread to one worker of n threads, all divisors of n between. The
configurations are shared out among the workers, each of which trains its share as a cohort, with the teacher asked once a
batch: so fewer workers ask it less often, as in a real run. The first step of every worker is not timed.

All splits run in every round, in changing order; printed are the medians and the ratios of each round to workers of
one thread. Without `--steps` small networks take more of them than large ones.
"""

import argparse
import json
from collections.abc import Sequence
from typing import Any

import torch
from children import CORES, seconds, serve, spread, start, tell
from vanilla import BATCH, Configurations, cohort

from kdbench.queue.executors.base import worker_environment

PAIRS = {"cnn_32_64_fc128:cnn_8_16": 200, "wrn_40_2:wrn_16_2": 8, "resnet34:resnet18": 2}  # and steps
FEW = 4  # configurations, where there are fewer cores


def main() -> None:
    """Run every split in turn, or (as a child) one worker of one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pair", nargs="+", default=list(PAIRS))
    parser.add_argument("--precision", choices=["bf16", "fp32"], default="bf16")
    parser.add_argument("--steps", type=int, help="default: 200, 8 and 2 for the three pairs, 8 for any other")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--configurations", type=int, default=CORES * -(-FEW // CORES), help="default: one a core, at least 4"
    )
    parser.add_argument("--child", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        _child(**json.loads(asked.child))
        return
    if asked.configurations < CORES:
        parser.error(f"--configurations must be at least {CORES}, the number of cores, got {asked.configurations}")
    for pair in asked.pair:
        about = {"pair": pair, "precision": asked.precision, "steps": asked.steps or PAIRS.get(pair, 8)}
        _compare(about, _configurations(asked.configurations), asked.rounds)


def _configurations(count: int) -> Configurations:
    return [((place + 0.5) / count, 4.0) for place in range(count)]


def _compare(about: dict[str, Any], configurations: Configurations, rounds: int) -> None:
    splits = [workers for workers in range(CORES, 0, -1) if CORES % workers == 0]
    taken: dict[int, list[float]] = {workers: [] for workers in splits}
    for number in range(rounds):
        for workers in sorted(splits, reverse=number % 2 == 0):
            taken[workers].append(_run(workers, about, configurations))
    size = f"{len(configurations)} configurations x {about['steps']} steps of {BATCH} images"
    tell(f"{about['pair']} in {about['precision']}, {size}, {CORES} cores")
    for workers, each in taken.items():
        _tell_split(workers, each, taken[CORES])


def _tell_split(workers: int, taken: Sequence[float], single: Sequence[float]) -> None:
    ratios = [one / own for one, own in zip(single, taken, strict=True)]
    split = f"{workers} workers x {CORES // workers} threads"
    tell(f"  {split:24}{spread(taken, ' s')}; {spread(ratios, ' times')} as fast as one thread a worker")


def _run(workers: int, about: dict[str, Any], configurations: Configurations) -> float:
    threads = CORES // workers
    shares = [configurations[first::workers] for first in range(workers)]
    told = [{**about, "threads": threads, "configurations": share} for share in shares]
    return seconds(f"{workers} workers", [start(one, worker_environment(threads)) for one in told])


def _child(threads: int, **told: Any) -> None:
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    serve(cohort(device=torch.device("cpu"), **told))


if __name__ == "__main__":
    main()
