"""Train a whole matrix with `kdbench run` and with a plain PyTorch loop, from the command to the written report.

    python benchmarks/end_to_end.py [--pair TEACHER:STUDENT ...] [--precision bf16 fp32] [--seeds 2] [--teachers 1]
        [--images N] [--epochs 3] [--rounds 1]

The matrix has one teacher for all seeds (kdbench's default) or one per seed (`--teachers` equal to `--seeds`), and for
each seed a student from scratch and nine configurations of vanilla distillation (alpha x T). Images are random, with
CIFAR-100's shape; a tenth of the training images is for validation, and there is a tenth as many test images. Both
contenders read the same .npz file and train every run for the same steps, with an evaluation on the validation images
after every epoch and on the test images at the end. kdbench also evaluates the best weights, times the inference of
both networks, and writes a report.

The plain loop is that of published repositories: a process per run, torchvision's transforms in a DataLoader, float32,
contiguous memory format. It trains a teacher once and loads it for every student, as published scripts do. One process
has all cores, or there is one per core, each with the next run of the matrix: a trial (one epoch of an eighth of the
images, one seed, four configurations) decides, and the faster setup trains the matrix.

It prints the ratios, how the runs were divided, and what the time of kdbench's workers went to. The ratio of the
training alone leaves out what longer runs make negligible: everything before the first run starts and, for kdbench,
after the last one has ended (timing of the inference, report).
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from command_log import CommandLog, logged_command, read_log
from plain_matrix import IMAGES, list_runs, train_next_run
from processes import CORES, format_spread, print_line
from vanilla import BATCH, CLASSES, RATE, SHAPE, Configurations

from kdbench.formatting import count_of
from kdbench.results import Store

PAIRS = ("wrn_40_2:wrn_16_2", "resnet32x4:resnet8x4")
ALPHAS, TEMPERATURES = (0.1, 0.5, 0.9), (2.0, 4.0, 8.0)
IMAGES_OF = {"resnet32x4:resnet8x4": 500}
MIN_IMAGES = 2 * BATCH
Process = subprocess.Popen[bytes]

MATRIX = """name = "end_to_end"
seeds = {seeds}
datasets = ["random"]
pairs = [{{ teacher = "{teacher}", student = "{student}" }}]
[dataset.random]
kind = "npz"
root = "{images}"
[recipe]
epochs = {epochs}
batch_size = {batch}
precision = "{precision}"
optimizer = {{ name = "sgd", lr = {rate}, momentum = 0.9, weight_decay = 5e-4 }}
augment = ["crop", "flip"]
[protocol]
teacher_seed = {teacher_seed}
[methods.vanilla]
alpha = {alphas}
temperature = {temperatures}
"""


@final
@dataclass(frozen=True)
class Work:
    """The work of both contenders: teachers, and per seed a student from scratch and all configurations."""

    pair: str
    seeds: int
    teachers: int
    alphas: tuple[float, ...]
    temperatures: tuple[float, ...]
    images: int
    epochs: int

    @property
    def configurations(self) -> Configurations:
        """All pairs of alpha and temperature."""
        return list(product(self.alphas, self.temperatures))

    def __str__(self) -> str:
        runs = len(list_runs(self.seeds, self.teachers, self.configurations))
        return f"{self.pair}, {runs} runs of {self.epochs} epochs of {self.images} images, {CORES} cores"


@final
@dataclass(frozen=True)
class Seconds:
    """The time of a contender, from its command, and of its training alone."""

    total: float
    training: float


def main() -> None:
    """Train each matrix with both contenders, or (as a child) run one process of the plain loop."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pair", nargs="+", default=PAIRS)
    parser.add_argument("--precision", nargs="+", choices=["bf16", "fp32"], default=["bf16", "fp32"])
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--teachers", type=int, default=1, help="1, or the number of seeds")
    parser.add_argument("--alphas", type=float, nargs="+", default=ALPHAS)
    parser.add_argument("--temperatures", type=float, nargs="+", default=TEMPERATURES)
    parser.add_argument("--images", type=int, help="default: 500 for resnet32x4:resnet8x4, 1000 for any other pair")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        _child(**json.loads(args.child))
        return
    if args.images is not None and args.images < MIN_IMAGES:
        parser.error(f"--images must be at least {MIN_IMAGES}, got {args.images}")
    if args.teachers not in (1, args.seeds):
        parser.error(f"--teachers must be 1 or the number of seeds, {args.seeds}, got {args.teachers}")
    sweep = tuple(args.alphas), tuple(args.temperatures)
    for pair in args.pair:
        images = args.images or IMAGES_OF.get(pair, 1000)
        _compare(Work(pair, args.seeds, args.teachers, *sweep, images, args.epochs), args.precision, args.rounds)


def _compare(work: Work, precisions: Sequence[str], rounds: int) -> None:
    print_line(str(work))
    processes = _choose_processes(work)
    plain: list[Seconds] = []
    logs: dict[str, list[CommandLog]] = {precision: [] for precision in precisions}
    for _ in range(rounds):
        plain.append(_run_plain(work, processes))
        for precision in precisions:
            logs[precision].append(_run_kdbench(work, precision))
    print_line(f"  plain loop, {_setup(processes)}: {format_spread([one.total for one in plain], ' s')}")
    for precision in precisions:
        _print_comparison(precision, logs[precision], plain)


def _print_comparison(precision: str, logs: Sequence[CommandLog], plain: Sequence[Seconds]) -> None:
    print_line(f"  kdbench in {precision}: {format_spread([log.seconds for log in logs], ' s')}")
    pairs = list(zip(logs, plain, strict=True))
    for log in logs[-1:]:
        _print_schedule(log)
        _print_shares(log)
    total = [other.total / log.seconds for log, other in pairs]
    training = [other.training / (log.training_span[1] - log.training_span[0]) for log, other in pairs]
    print_line(f"    training alone, kdbench in {precision} is faster than the plain loop {_times(training)}")
    print_line(f"    from command to report, kdbench in {precision} is faster than the plain loop {_times(total)}")


def _times(ratios: Sequence[float]) -> str:
    return format_spread(ratios, " times")


def _print_schedule(log: CommandLog) -> None:
    for worker in range(1, log.workers + 1):
        cohorts = [
            f"{len(job.runs)} {'with' if job.has_teacher else 'without'} a teacher {job.started:.0f}-{job.ended:.0f} s"
            for job in log.jobs
            if job.worker == worker
        ]
        print_line(f"    worker {worker}: {', '.join(cohorts) or 'idle'}")
    start, end = log.students_span
    print_line(
        f"    busy share of the workers: {log.busy_share(0, log.seconds):.1%} of the command, "
        f"{log.busy_share(*log.training_span):.1%} of the training, "
        f"{log.busy_share(start, end):.1%} of the span of the students with a teacher ({end - start:.1f} s)"
    )


def _print_shares(log: CommandLog) -> None:
    for name, seconds in log.shares().items():
        print_line(f"    {seconds / log.workers:8.1f} s {seconds / log.workers / log.seconds:6.1%}  {name}")


def _choose_processes(work: Work) -> int:
    """Return the number of processes with which the plain loop trains a part of the work fastest."""
    alphas, temperatures, images = work.alphas[:2], work.temperatures[:2], max(MIN_IMAGES, work.images // 8)
    trial = replace(work, seeds=1, teachers=1, alphas=alphas, temperatures=temperatures, images=images, epochs=1)
    times = {processes: _run_plain(trial, processes).total for processes in sorted({1, CORES})}
    shown = ", ".join(f"{_setup(processes)} {seconds:.1f} s" for processes, seconds in times.items())
    print_line(f"  plain loop, trial: {shown}")
    return min(times, key=times.__getitem__)


def _setup(processes: int) -> str:
    return f"{processes} x {count_of(CORES // processes, 'thread')}"


def _run_plain(work: Work, processes: int) -> Seconds:
    """Run the plain loop; its accuracies are printed by its processes, and not shown."""
    with tempfile.TemporaryDirectory() as name:
        folder, threads = Path(name), CORES // processes
        _write_images(folder, work.images)
        arguments = json.dumps({"folder": name, "threads": threads, **asdict(work)})
        command = [sys.executable, str(Path(__file__).resolve()), "--child", arguments]
        environment = {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
        runs = list_runs(work.seeds, work.teachers, work.configurations)
        start = time.time()
        _run_all([(command, folder, environment)] * len(runs), processes)
        end = time.time()
        return Seconds(end - start, end - (folder / str(runs[0])).stat().st_mtime)  # it marks the start of the run


def _run_all(commands: Sequence[tuple[Sequence[str], Path, dict[str, str]]], side_by_side: int) -> None:
    """Run commands in their order, some side by side."""
    running: list[Process] = []
    for command in commands:
        while len(running) == side_by_side:
            ended = [child for child in running if child.poll() is not None]
            _wait(ended)
            running = [child for child in running if child not in ended]
            time.sleep(0.02)
        running.append(_start(*command))
    _wait(running)


def _run_kdbench(work: Work, precision: str) -> CommandLog:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write_images(folder, work.images)
        _write_matrix(folder, work, precision)
        log = folder / "events"
        command = logged_command(["run", "matrix.toml"], log)
        start = time.time()
        _wait([_start(command, folder, {"KDBENCH_CACHE": str(folder / "cache")})])
        return read_log(log, Store(folder / "results"), start, time.time(), CORES)


def _start(command: Sequence[str], folder: Path, environment: dict[str, str]) -> Process:
    """Start a process in a folder, without the settings of kdbench that the environment may have."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("KDBENCH_")}
    here = Path(__file__).resolve().parent
    path = os.pathsep.join(map(str, (here, here.parent, *sys.path[1:])))
    environment = {**inherited, "PYTHONPATH": path, **environment}
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL)


def _wait(children: Sequence[Process]) -> None:
    """Wait until all processes have ended; if one fails, kill the others."""
    while any(child.poll() is None for child in children):
        if any(child.poll() for child in children):
            break
        time.sleep(0.02)
    for child in children:
        child.kill()
        if child.wait():
            raise SystemExit("a process failed")


def _child(folder: str, threads: int, **work: Any) -> None:
    torch.set_num_threads(threads)
    own = Work(**work)
    runs = list_runs(own.seeds, own.teachers, own.configurations)
    train_next_run(runs, own.pair, own.epochs, Path(folder))


def _write_images(folder: Path, count: int) -> None:
    """Write random images (N, H, W, C) with balanced labels, and a tenth as many test images."""
    random = np.random.default_rng(0)
    classes = min(CLASSES, count // 10)
    arrays: dict[str, Any] = {}
    for part, size in (("train", count), ("test", max(classes, count // 10))):
        arrays[f"{part}_images"] = random.integers(0, 256, (size, *SHAPE[1:], SHAPE[0]), dtype=np.uint8)
        arrays[f"{part}_labels"] = np.arange(size) % classes
    np.savez(folder / IMAGES, **arrays)


def _write_matrix(folder: Path, work: Work, precision: str) -> None:
    teacher, student = work.pair.split(":")
    text = MATRIX.format(
        seeds=list(range(work.seeds)),
        teacher=teacher,
        student=student,
        images=IMAGES,
        epochs=work.epochs,
        batch=BATCH,
        precision=precision,
        rate=RATE,
        teacher_seed=0 if work.teachers == 1 else '"paired"',
        alphas=list(work.alphas),
        temperatures=list(work.temperatures),
    )
    (folder / "matrix.toml").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
