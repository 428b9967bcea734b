"""Measure how kdbench scales with the number of runs in a results folder, and with the size of a cohort.

    python benchmarks/scale.py commands [--runs 100 1000 10000]
    python benchmarks/scale.py cohort [--sizes 1 2 4 8 16] [--pair TEACHER:STUDENT] [--precision bf16] [--steps 3]

`commands` writes results folders of finished runs, without training, and times kdbench's commands on them.
Requirement: `plan`, `status` and `report` on 10,000 runs in under 10 s; `run` on 100 finished runs in under 4 s.

`cohort` trains cohorts of each size, each in its own process on one core, with random images of CIFAR-100's shape. It
prints the peak memory of the process and its parts: the imported libraries, what belongs to the members (weights,
buffers, momentum), and the rest (the teacher, the batch, the activations of one member at a time). Requirement: the
rest does not grow with the cohort.
"""

import argparse
import importlib
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

SEEDS = 5
CLASSES, SHAPE, BATCH = 100, (3, 32, 32), 64
MB = 2**20


def main() -> None:
    """Run one of the two measurements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(dest="part", required=True)
    commands = parts.add_parser("commands")
    commands.add_argument("--runs", type=int, nargs="+", default=[100, 1000, 10_000])
    cohort = parts.add_parser("cohort")
    cohort.add_argument("--sizes", type=int, nargs="+", default=[1, 2, 4, 8, 16])
    cohort.add_argument("--pair", default="wrn_40_2:wrn_16_2")
    cohort.add_argument("--precision", choices=["bf16", "fp32"], default="bf16")
    cohort.add_argument("--steps", type=int, default=3)
    cohort.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.part == "commands":
        _time_commands(args.runs)
    elif args.child:
        _print(json.dumps(_train(args.sizes[0], args.pair, args.precision, args.steps)))
    else:
        _cohorts(args.sizes, args.pair, args.precision, args.steps)


def _time_commands(sizes: Sequence[int]) -> None:
    columns = ("help", "plan", "status", "report", "run again")
    _print("runs".rjust(8) + "".join(f"{column:>12}" for column in columns) + f"{'plan+status+report':>22}")
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            runs = _fabricate(Path(folder), size)
            times = dict(zip(columns, _commands(Path(folder)), strict=True))
        total = sum(times[name] for name in ("plan", "status", "report"))
        _print(f"{runs:8}" + "".join(f"{seconds:10.2f} s" for seconds in times.values()) + f"{total:20.2f} s")


def _commands(folder: Path) -> Iterator[float]:
    """Yield the seconds of each command, each in its own process."""
    results = ["--results", "results"]
    for expected, *command in (
        ["Usage", "--help"],
        [" done)", "plan", "matrix.toml", *results],
        ["scale", "status", *results],
        ["report: reports", "report", *results],
        ["nothing to train", "run", "matrix.toml", *results],
    ):
        yield _seconds(command, folder, expected)


def _seconds(command: Sequence[str], folder: Path, expected: str) -> float:
    start = perf_counter()
    done = subprocess.run([sys.executable, "-m", "kdbench", *command], cwd=folder, capture_output=True, text=True)
    seconds = perf_counter() - start
    if done.returncode or expected not in done.stdout:
        raise SystemExit(f"kdbench {' '.join(command)} did not print '{expected}': {done.stdout[-2000:]}{done.stderr}")
    return seconds


def _fabricate(folder: Path, size: int) -> int:
    """Write a results folder in which every run of a sweep of vanilla distillation is done; return their number."""
    from kdbench.matrix import load
    from kdbench.plan import make_plan
    from kdbench.results import Store
    from kdbench.results.timings import Timing, TimingEnvironment, write_timing

    (folder / "matrix.toml").write_text(_matrix(size), encoding="utf-8")
    plan, store = make_plan(load(folder / "matrix.toml")), Store(folder / "results")
    store.fix_threads(1)
    store.write_index(plan.index())
    here = TimingEnvironment.here("cpu", 1)
    write_timing(store.timings, Timing("small", here, "2026-01-01", {"inference_ms": 0.1, "throughput": 1e5}))
    for number, run in enumerate(plan.runs):
        _finish(store, run, number)
    return len(plan.runs)


def _matrix(size: int) -> str:
    configurations = max(1, size // SEEDS)
    alphas = math.isqrt(configurations)
    temperatures = configurations // alphas
    return "\n".join(
        [
            f'name = "scale"\nseeds = {list(range(SEEDS))}\ndatasets = ["digits"]',
            'pairs = [{ teacher = "mlp_64", student = "mlp_32" }]\n[methods.vanilla]',
            f"alpha = {[(i + 0.5) / alphas for i in range(alphas)]}",
            f"temperature = {[1 + i / 8 for i in range(temperatures)]}",
        ]
    )


def _finish(store: Any, run: Any, number: int) -> None:
    """Write the files of a finished run, as a worker does."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq
    from safetensors.numpy import save_file

    from kdbench.results.columns import COLUMNS, DERIVED
    from kdbench.results.integrity import HISTORY, WEIGHTS, checksums
    from kdbench.results.predictions import Predictions, write_predictions

    store.write_spec(run)
    folder = store.folder(run.id)
    save_file({"student.w": np.zeros(1, dtype=np.float32)}, folder / WEIGHTS)
    pq.write_table(pa.table({"epoch": [1, 2], "val_nll": [0.5, 0.4]}), folder / HISTORY)
    logits = np.random.default_rng(number).standard_normal((360, 10))  # as many test images as digits has
    write_predictions(store, run.id, {"student": Predictions.from_logits(logits, np.arange(360) % 10)})
    names = [name for name, column in COLUMNS.items() if column.type == "double" and name not in DERIVED]
    row: dict[str, float | str] = {name: ((37 * number + 11 * i) % 101) / 101 for i, name in enumerate(names)}
    row |= {"device": "cpu", "precision": run.recipe.precision, "kdbench_version": "0"}
    result = {"status": "done", "row": row, "architecture": "small", "deployed": {}, "files": checksums(folder)}
    store.write_result(run.id, result)


def _cohorts(sizes: Sequence[int], pair: str, precision: str, steps: int) -> None:
    _print(f"{pair}, {precision}, {BATCH} images per step; memory in MB")
    columns = ("members", "s per step", "s per member", "memory", "libraries", "members' own", "the rest", "rest ratio")
    _print("".join(f"{column:>14}" for column in columns))
    first = None
    for size in sizes:
        measured = _run_child(size, pair, precision, steps)
        rest = measured["memory"] - measured["libraries"] - measured["own"]
        first = first or rest
        memory = (f"{mb:.1f}" for mb in (measured["memory"], measured["libraries"], measured["own"], rest))
        seconds = (f"{value:.3f}" for value in (measured["seconds"], measured["seconds"] / size))
        shown = (str(size), *seconds, *memory, f"{rest / first:.3f}")
        _print("".join(f"{text:>14}" for text in shown))


def _run_child(size: int, pair: str, precision: str, steps: int) -> dict[str, float]:
    arguments = ["--sizes", str(size), "--pair", pair, "--precision", precision, "--steps", str(steps), "--child"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, __file__, "cohort", *arguments], stdout=subprocess.PIPE, text=True, env=environment, check=True
    )
    measured: dict[str, float] = json.loads(done.stdout)
    return measured


def _train(size: int, pair: str, precision: str, steps: int) -> dict[str, float]:
    """Return the seconds per step of the cohort, the peak memory and its parts in MB."""
    import torch

    for name in ("methods", "models", "data.batches", "training.loop"):
        importlib.import_module(f"kdbench.{name}")
    libraries = _peak()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    cohort, members = _cohort(size, pair, precision, steps)
    cohort.train(1)
    start = perf_counter()
    cohort.train(2, 1)
    seconds = (perf_counter() - start) / steps
    own = sum(map(_own_bytes, members))
    return {"seconds": seconds, "memory": _peak() / MB, "libraries": libraries / MB, "own": own / MB}


def _cohort(size: int, pair: str, precision: str, steps: int) -> tuple[Any, list[Any]]:
    import torch

    from kdbench import methods, models
    from kdbench.data.batches import Batches
    from kdbench.matrix.recipe import Recipe
    from kdbench.training.loop import CohortLoop
    from kdbench.training.member import Member
    from kdbench.training.network import Frozen, to_device

    recipe = Recipe(epochs=2, batch_size=BATCH, precision=precision, augment=("crop", "flip"))
    teacher, *students = [
        to_device(models.build(name, num_classes=CLASSES, image_shape=SHAPE), torch.device("cpu"))
        for name in [pair.split(":")[0], *[pair.split(":")[1]] * size]
    ]
    frozen = Frozen(teacher)
    members = [
        Member(str(index), methods.create(["vanilla"], student=student, teacher=frozen), recipe, index)
        for index, student in enumerate(students)
    ]
    images, labels = torch.randint(0, 256, (steps * BATCH, *SHAPE), dtype=torch.uint8), torch.arange(steps * BATCH)
    moments = {"mean": (0.5,) * SHAPE[0], "std": (0.25,) * SHAPE[0]}
    batches = Batches(images, labels % CLASSES, labels, **moments, recipe=recipe, seed=0)
    return CohortLoop(members, batches, [frozen], lambda member: {}, lambda epoch, active: None), members


def _own_bytes(member: Any) -> int:
    """Return the bytes of a member's weights, buffers and momentum."""
    import torch

    moments = [
        value
        for optimizer in member.optimizers.values()
        for state in optimizer.state_dict()["torch"]["state"].values()
        for value in state.values()
        if isinstance(value, torch.Tensor)
    ]
    tensors = [*member.method.student.state_dict().values(), *moments]
    return sum(value.nbytes for value in tensors)


def _peak() -> int:
    """Return the peak memory of this process in bytes; ru_maxrss is in KiB, on macOS in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 2**10


def _print(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
