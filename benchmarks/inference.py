"""Compare the inference time of a student with that of its teacher.

    python benchmarks/inference.py [--pair TEACHER:STUDENT ...] [--rounds 5] [--seconds 0.5]

Times single images and batches of 256 as kdbench times deployed networks (float32), on one core, teacher and student in
turn. Prints the medians and the ratios of all rounds.
"""

import argparse
import statistics
import sys
from collections.abc import Sequence

import torch

from kdbench import models
from kdbench.training.evaluation import count_parameters, time_inference
from kdbench.training.network import to_device

PAIRS = ("wrn_40_2:wrn_16_2", "resnet32x4:resnet8x4")
CLASSES, SHAPE = 100, (3, 32, 32)


def main() -> None:
    """Print a line for each pair and batch size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pair", nargs="+", default=PAIRS)
    parser.add_argument("--batch", nargs="+", type=int, default=[1, 256])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    for pair in args.pair:
        names = pair.split(":")
        networks = [_network(name) for name in names]
        sizes = ", ".join(f"{name} {count_parameters(n):,} parameters" for name, n in zip(names, networks, strict=True))
        sys.stdout.write(f"{sizes}\n")
        for batch in args.batch:
            times = [
                [time_inference(n, SHAPE, batch, args.seconds).median_ms for n in networks] for _ in range(args.rounds)
            ]
            _print(names, batch, times)


def _network(name: str) -> torch.nn.Module:
    return to_device(models.build(name, num_classes=CLASSES, image_shape=SHAPE), torch.device("cpu"))


def _print(names: Sequence[str], batch: int, times: Sequence[Sequence[float]]) -> None:
    teacher, student = (statistics.median(column) for column in zip(*times, strict=True))
    ratios = [teacher_ms / student_ms for teacher_ms, student_ms in times]
    sys.stdout.write(
        f"  batch {batch}: {names[0]} {teacher:.2f} ms, {names[1]} {student:.2f} ms; the student is "
        f"{statistics.median(ratios):.2f} times faster ({min(ratios):.2f} to {max(ratios):.2f})\n"
    )


if __name__ == "__main__":
    main()
