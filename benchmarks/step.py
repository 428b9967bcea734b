"""Profile the training step of a student, and compare it with the fastest convolution of this processor.

    python benchmarks/step.py [--network wrn_16_2 resnet8x4] [--precision bf16 fp32] [--steps 10] [--roof-channels 256]

Trains from scratch on batches of 64 images of CIFAR-100's shape, with the environment variables of kdbench's workers,
on one thread. Prints two tables in Markdown: the share of each kind of work in a step, and operations per second. The
roof is one 3x3 convolution of maps of 16 x 16. "Everything else" includes Python, torch's dispatch and its profiler.
"""

import argparse
import os
import statistics
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from time import perf_counter, thread_time
from typing import Any, Literal, final

import torch
from processes import print_line
from torch.nn.functional import conv2d
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode
from vanilla import BATCH, MEAN, RATE, STD, make_network, random_images

from kdbench import methods
from kdbench.data.batches import Batches
from kdbench.matrix.recipe import Recipe, Sgd
from kdbench.queue.executors.base import worker_environment
from kdbench.training.member import Member
from kdbench.worker.build import prepare
from kdbench.worker.job_runner import set_up_torch

Precision = Literal["bf16", "fp32"]

CPU = torch.device("cpu")
OPTIMIZER = "aten::_foreach"  # prefix of what only the optimizer calls
KINDS: Mapping[str, tuple[str, ...]] = {
    "convolution, forward": ("aten::mkldnn_convolution", "aten::thnn_conv2d", "aten::_slow_conv2d_forward"),
    "convolution, backward": ("aten::convolution_backward", "aten::_slow_conv2d_backward"),
    "batch norm": ("aten::native_batch_norm", "aten::native_batch_norm_backward"),
    "ReLU": ("aten::clamp_min", "aten::clamp_min_", "aten::threshold_backward"),
    "sums": ("aten::add", "aten::add_"),
    "optimizer": (OPTIMIZER,),
    "casts and copies": ("aten::copy_", "aten::_to_copy", "aten::to", "aten::clone", "aten::contiguous"),
}
ELSE = "everything else"


@final
@dataclass(frozen=True)
class StepProfile:
    """A step of one network in one precision.

    Attributes:
        network: the student's name.
        precision: the precision.
        seconds: CPU seconds of a step.
        kinds: seconds of each kind of work in a profiled step.
        operations: floating-point operations of the convolutions of a step.
    """

    network: str
    precision: Precision
    seconds: float
    kinds: Mapping[str, float]
    operations: int

    @property
    def convolutions(self) -> float:
        """Seconds of the convolutions."""
        return self.kinds["convolution, forward"] + self.kinds["convolution, backward"]


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", nargs="+", default=["wrn_16_2", "resnet8x4"])
    parser.add_argument("--precision", nargs="+", choices=["bf16", "fp32"], default=["bf16", "fp32"])
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--roof-channels", type=int, default=256)
    args = parser.parse_args()
    environment = worker_environment(1)
    if any(os.environ.get(name) != value for name, value in environment.items() if name != "PYTHONPATH"):
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **environment})
    torch.set_num_threads(1)
    set_up_torch(CPU)
    found = [_profile_step(name, precision, args.steps) for name in args.network for precision in args.precision]
    _print_shares(found)
    _print_roof(found, {precision: _roof(precision, args.roof_channels, args.steps) for precision in args.precision})


def _profile_step(name: str, precision: Precision, steps: int) -> StepProfile:
    train = _training(name, precision)
    train()
    seconds = statistics.median(_times(train, steps))
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        start = perf_counter()
        for _ in range(steps):
            train()
        profiled = (perf_counter() - start) / steps
    own: defaultdict[str, float] = defaultdict(float)
    for event in profiler.events():
        own[_operation(event)] += event.self_cpu_time_total / 1e6 / steps
    kinds = {kind: sum(own[operation] for operation in operations) for kind, operations in KINDS.items()}
    return StepProfile(name, precision, seconds, {**kinds, ELSE: profiled - sum(kinds.values())}, _operations(train))


def _operation(event: Any) -> str:
    """Return the name of a profiled operation, or `OPTIMIZER` if it is part of the optimizer's step."""
    parent = event
    while parent is not None:
        if parent.name.startswith(OPTIMIZER):
            return OPTIMIZER
        parent = parent.cpu_parent
    return str(event.name)


def _training(name: str, precision: Precision) -> Callable[[], None]:
    """Return a function that trains on a batch, always the same one."""
    recipe = Recipe(epochs=1, batch_size=BATCH, precision=precision, optimizer=Sgd(lr=RATE))
    method = methods.create(["scratch"], student=prepare(make_network(name), CPU, False), parameters={})
    member = Member("", method, recipe, 0)
    images, labels = random_images(BATCH, CPU)
    batches = Batches(images, labels, torch.arange(BATCH), mean=MEAN, std=STD, recipe=recipe, seed=0)
    batch = next(batches.epoch(0, 1))
    member.start_epoch()

    def train() -> None:
        member.train_batch(batch)
        if member.error is not None:
            raise member.error

    return train


def _times(run: Callable[[], object], count: int) -> Iterator[float]:
    """Yield the CPU seconds of this thread, which does all the work."""
    for _ in range(count):
        start = thread_time()
        run()
        yield thread_time() - start


def _operations(train: Callable[[], None]) -> int:
    """Return the operations of the convolutions of a step."""
    with FlopCounterMode(display=False) as counter:
        train()
    counts = Counter({str(name): count for name, count in counter.get_flop_counts()["Global"].items()})
    return sum(count for name, count in counts.items() if "convolution" in name)


def _roof(precision: Precision, channels: int, repeats: int) -> tuple[float, float]:
    """Return the operations per second of a convolution, forward and backward, the fastest of several repeats."""
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(shape).to(dtype).contiguous(memory_format=torch.channels_last).requires_grad_()

    maps, weight = random(BATCH, channels, 16, 16), random(channels, channels, 3, 3)
    result = conv2d(maps, weight, padding=1)
    gradient = torch.randn_like(result)

    def backward() -> object:
        return torch.autograd.grad(result, (maps, weight), gradient, retain_graph=True)

    operations = 2 * result.numel() * weight[0].numel()
    forward_seconds = min(_times(lambda: conv2d(maps, weight, padding=1), repeats + 1))
    return operations / forward_seconds, 2 * operations / min(_times(backward, repeats + 1))


def _print_shares(found: list[StepProfile]) -> None:
    print_line("| " + " | ".join(["share of a step", *(f"{one.network}, {one.precision}" for one in found)]) + " |")
    print_line("| --- |" + " ---: |" * len(found))
    for kind in (*KINDS, ELSE):
        shares = (100 * one.kinds[kind] / sum(one.kinds.values()) for one in found)
        print_line("| " + " | ".join([kind, *(f"{share:.1f} %" for share in shares)]) + " |")
    print_line("| " + " | ".join(["CPU milliseconds per step", *(f"{1000 * one.seconds:.1f}" for one in found)]) + " |")


def _print_roof(found: list[StepProfile], roofs: Mapping[Precision, tuple[float, float]]) -> None:
    """Print GFLOP/s, and how much faster a step would be if it took no time but that of its convolutions."""
    print_line("\n| GFLOP/s | roof, forward | roof, backward | convolutions of the step | step | limit |")
    print_line("| --- |" + " ---: |" * 5)
    for one in found:
        share = one.convolutions / sum(one.kinds.values())
        achieved = one.operations / one.seconds
        rates = [*roofs[one.precision], achieved / share, achieved]
        shown = " | ".join(f"{rate / 1e9:.0f}" for rate in rates)
        print_line(f"| {one.network}, {one.precision} | {shown} | {1 / share:.2f} times |")


if __name__ == "__main__":
    main()
