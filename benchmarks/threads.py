"""Compare the splits of the cores into workers and threads, for small and large networks.

    python benchmarks/threads.py [--pair TEACHER:STUDENT ...] [--precision bf16] [--steps 8] [--rounds 5]
        [--configurations 4]

Trains vanilla distillation with batches of 64 random images of CIFAR-100's shape. Every split trains the same
configurations for the same steps: on n cores, from n workers of one thread to one worker of n threads, with all
divisors of n between. The configurations are divided among the workers. Each worker trains its share as a cohort and
computes the teacher's outputs once per batch, so fewer workers compute them less often, as in a real run. The first
step of every worker is not timed.

All splits run in every round, in alternating order. It prints the medians and the ratios of all rounds to workers of
one thread. By default small networks train for more steps than large ones.
"""

import argparse
import json
from collections.abc import Sequence
from typing import Any

import torch
from processes import CORES, format_spread, print_line, run_child, start_child, time_children
from vanilla import BATCH, Configurations, make_cohort

from kdbench.queue.executors.base import worker_environment

PAIRS = {"cnn_32_64_fc128:cnn_8_16": 200, "wrn_40_2:wrn_16_2": 8, "resnet34:resnet18": 2}  # steps
MIN_CONFIGURATIONS = 4


def main() -> None:
    """Run every split in turn, or (as a child) one worker of a split."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pair", nargs="+", default=list(PAIRS))
    parser.add_argument("--precision", choices=["bf16", "fp32"], default="bf16")
    parser.add_argument("--steps", type=int, help="default: 200, 8 and 2 for the three pairs, 8 for any other")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--configurations",
        type=int,
        default=CORES * -(-MIN_CONFIGURATIONS // CORES),
        help="default: one per core, at least 4",
    )
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        _child(**json.loads(args.child))
        return
    if args.configurations < CORES:
        parser.error(f"--configurations must be at least {CORES}, the number of cores, got {args.configurations}")
    for pair in args.pair:
        arguments = {"pair": pair, "precision": args.precision, "steps": args.steps or PAIRS.get(pair, 8)}
        _compare(arguments, _configurations(args.configurations), args.rounds)


def _configurations(count: int) -> Configurations:
    return [((index + 0.5) / count, 4.0) for index in range(count)]


def _compare(arguments: dict[str, Any], configurations: Configurations, rounds: int) -> None:
    splits = [workers for workers in range(CORES, 0, -1) if CORES % workers == 0]
    times: dict[int, list[float]] = {workers: [] for workers in splits}
    for number in range(rounds):
        for workers in sorted(splits, reverse=number % 2 == 0):
            times[workers].append(_run(workers, arguments, configurations))
    size = f"{len(configurations)} configurations x {arguments['steps']} steps of {BATCH} images"
    print_line(f"{arguments['pair']} in {arguments['precision']}, {size}, {CORES} cores")
    for workers, each in times.items():
        _print_split(workers, each, times[CORES])


def _print_split(workers: int, times: Sequence[float], single: Sequence[float]) -> None:
    ratios = [one / own for one, own in zip(single, times, strict=True)]
    split = f"{workers} workers x {CORES // workers} threads"
    print_line(
        f"  {split:24}{format_spread(times, ' s')}; {format_spread(ratios, ' times')} as fast as one thread per worker"
    )


def _run(workers: int, arguments: dict[str, Any], configurations: Configurations) -> float:
    threads = CORES // workers
    shares = [configurations[first::workers] for first in range(workers)]
    children = [{**arguments, "threads": threads, "configurations": share} for share in shares]
    return time_children(f"{workers} workers", [start_child(child, worker_environment(threads)) for child in children])


def _child(threads: int, **arguments: Any) -> None:
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    run_child(make_cohort(device=torch.device("cpu"), **arguments))


if __name__ == "__main__":
    main()
