"""Compare kdbench with a hand-written loop that runs the same steps.

    python benchmarks/overhead.py [--pair TEACHER:STUDENT] [--precision bf16] [--steps 4] [--rounds 20]

Both train vanilla distillation on the same batches in one process on one core, in turn and in alternating order, with
the same memory format, precision and optimizer, and with the environment variables of kdbench's workers. Prints the
median of the paired ratios with its 95 % confidence interval (bootstrap).
Requirement: at most 1.03.
"""

import argparse
import os
import random
import statistics
import sys
from collections.abc import Callable
from time import perf_counter

import torch
import torch.nn.functional as F
from processes import print_line
from vanilla import BATCH, MEAN, RATE, STD, make_network, random_images

from kdbench import methods
from kdbench.data.batches import Batches
from kdbench.matrix.recipe import Recipe, Sgd
from kdbench.queue.executors.base import worker_environment
from kdbench.training.loop import CohortLoop
from kdbench.training.member import Member
from kdbench.training.network import Frozen, to_device

ALPHA, TEMPERATURE = 0.9, 4.0
CPU = torch.device("cpu")


def main() -> None:
    """Print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pair", default="wrn_40_2:wrn_16_2")
    parser.add_argument("--precision", choices=["bf16", "fp32"], default="bf16")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=20)
    args = parser.parse_args()
    if "MALLOC_TRIM_THRESHOLD_" not in os.environ:  # it must be set when the process starts
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **worker_environment(1)})
    torch.set_num_threads(1)
    teacher_name, student_name = args.pair.split(":")
    recipe = Recipe(
        epochs=1, batch_size=BATCH, precision=args.precision, optimizer=Sgd(lr=RATE), augment=("crop", "flip")
    )
    batches = _batches(recipe, args.steps)
    teacher = to_device(make_network(teacher_name), CPU)
    contenders = {
        "kdbench": _harness(student_name, teacher, recipe, batches),
        "by hand": _by_hand(student_name, teacher, args.precision == "bf16", batches),
    }
    for train in contenders.values():
        train()
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(args.rounds):
        for name in sorted(contenders, reverse=number % 2 == 1):
            start = perf_counter()
            contenders[name]()
            times[name].append(perf_counter() - start)
    for name, seconds in times.items():
        print_line(
            f"{name}: {1000 * statistics.median(seconds) / args.steps:.1f} ms per step (median of {args.rounds})"
        )
    ratios = [ours / theirs for ours, theirs in zip(times["kdbench"], times["by hand"], strict=True)]
    low, high = _interval(ratios)
    print_line(
        f"{args.pair}, {args.precision}: kdbench / by hand {statistics.median(ratios):.3f} ({low:.3f} to {high:.3f})"
    )


def _batches(recipe: Recipe, steps: int) -> Batches:
    images, labels = random_images(steps * BATCH, CPU)
    return Batches(images, labels, torch.arange(len(labels)), mean=MEAN, std=STD, recipe=recipe, seed=0)


def _harness(student: str, teacher: torch.nn.Module, recipe: Recipe, batches: Batches) -> Callable[[], None]:
    frozen = Frozen(teacher)
    parameters = {"vanilla": {"alpha": ALPHA, "temperature": TEMPERATURE}}
    own = to_device(make_network(student), CPU)
    member = Member("", methods.create(["vanilla"], student=own, teacher=frozen, parameters=parameters), recipe, 0)
    cohort = CohortLoop([member], batches, [frozen], lambda member: {}, lambda epoch, active: None)
    return lambda: cohort.train(1)


def _by_hand(student: str, teacher: torch.nn.Module, bf16: bool, batches: Batches) -> Callable[[], None]:
    own = to_device(make_network(student), CPU)
    teacher.eval()
    optimizer = torch.optim.SGD(own.parameters(), RATE, momentum=0.9, weight_decay=5e-4, foreach=True)

    def train() -> None:
        own.train()
        losses = []
        for batch in batches.epoch(0, 1):
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
                with torch.no_grad():
                    soft = teacher(batch.images).logits
                logits = own(batch.images).logits
            ours, theirs = logits.float() / TEMPERATURE, soft.float() / TEMPERATURE
            kl = F.kl_div(
                F.log_softmax(ours, dim=1), F.log_softmax(theirs, dim=1), reduction="batchmean", log_target=True
            )
            hard = F.cross_entropy(logits.float(), batch.labels)
            loss = (1 - ALPHA) * hard + ALPHA * TEMPERATURE**2 * kl
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.detach())
        torch.stack(losses).mean().item()

    return train


def _interval(values: list[float]) -> tuple[float, float]:
    """Return the 95 % confidence interval of the median, from 2,000 bootstrap samples."""
    draw = random.Random(0)
    medians = sorted(statistics.median(draw.choices(values, k=len(values))) for _ in range(2000))
    return medians[50], medians[1949]


if __name__ == "__main__":
    main()
