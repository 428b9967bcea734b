"""How kdbench grows: with the number of runs in a results folder, and with the size of a cohort.

    python benchmarks/scale.py around [--runs 100 1000 10000]
    python benchmarks/scale.py cohort [--sizes 1 2 4 8 16] [--pair TEACHER:STUDENT] [--precision bf16] [--steps 3]

`around` makes results folders of finished runs, without training, and times the commands that a user gives on them.
The demand: 10,000 runs opened, planned and reported in under 10 s; `run` on 100 of them in under 4 s.

`cohort` trains each size in a process of its own, one core, random images of CIFAR-100's shape. Memory is the most that
the process held, and split: the imported libraries, what the members own (weights, buffers, moments), and the rest (the
teacher, the batch, the activations of the one member that steps). The demand: the rest does not grow with the cohort.
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
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(dest="part", required=True)
    around = parts.add_parser("around")
    around.add_argument("--runs", type=int, nargs="+", default=[100, 1000, 10_000])
    cohort = parts.add_parser("cohort")
    cohort.add_argument("--sizes", type=int, nargs="+", default=[1, 2, 4, 8, 16])
    cohort.add_argument("--pair", default="wrn_40_2:wrn_16_2")
    cohort.add_argument("--precision", choices=["bf16", "fp32"], default="bf16")
    cohort.add_argument("--steps", type=int, default=3)
    cohort.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.part == "around":
        _around(asked.runs)
    elif asked.child:
        _tell(json.dumps(_train(asked.sizes[0], asked.pair, asked.precision, asked.steps)))
    else:
        _cohorts(asked.sizes, asked.pair, asked.precision, asked.steps)


def _around(sizes: Sequence[int]) -> None:
    columns = ("help", "plan", "status", "report", "run again")
    _tell("runs".rjust(8) + "".join(f"{column:>12}" for column in columns) + f"{'plan+status+report':>22}")
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            runs = _fabricate(Path(folder), size)
            taken = dict(zip(columns, _commands(Path(folder)), strict=True))
        whole = sum(taken[name] for name in ("plan", "status", "report"))
        _tell(f"{runs:8}" + "".join(f"{seconds:10.2f} s" for seconds in taken.values()) + f"{whole:20.2f} s")


def _commands(folder: Path) -> Iterator[float]:
    """Seconds of each command, in a process of its own."""
    results = ["--results", "results"]
    for expected, *command in (
        ["Usage", "--help"],
        [" done); ", "plan", "matrix.toml", *results],
        ["scale", "status", *results],
        ["wrote reports", "report", *results],
        ["nothing to do", "run", "matrix.toml", *results],
    ):
        yield _seconds(command, folder, expected)


def _seconds(command: Sequence[str], folder: Path, expected: str) -> float:
    start = perf_counter()
    done = subprocess.run([sys.executable, "-m", "kdbench", *command], cwd=folder, capture_output=True, text=True)
    seconds = perf_counter() - start
    if done.returncode or expected not in done.stdout:
        raise SystemExit(f"kdbench {' '.join(command)} did not say '{expected}': {done.stdout[-2000:]}{done.stderr}")
    return seconds


def _fabricate(folder: Path, size: int) -> int:
    """A results folder in which every run of a sweep of vanilla distillation is done; gives how many there are."""
    from kdbench.matrix import load
    from kdbench.plan import make_plan
    from kdbench.results import Store

    (folder / "matrix.toml").write_text(_matrix(size), encoding="utf-8")
    plan, store = make_plan(load(folder / "matrix.toml")), Store(folder / "results")
    store.fix_threads(1)
    store.write_index(plan.index())
    store.write_timing("small", {"inference_ms": 0.1, "throughput": 1e5})
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
    """Write what a finished run leaves, as a worker does."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq
    from safetensors.numpy import save_file

    from kdbench.results.integrity import HISTORY, WEIGHTS, checksums
    from kdbench.results.columns import COLUMNS

    store.write_spec(run)
    folder = store.folder(run.id)
    save_file({"student.w": np.zeros(1, dtype=np.float32)}, folder / WEIGHTS)
    pq.write_table(pa.table({"epoch": [0, 1], "val_nll": [0.5, 0.4]}), folder / HISTORY)
    names = [name for name, column in COLUMNS.items() if column.type == "double"]
    row: dict[str, float | str] = {name: ((37 * number + 11 * i) % 101) / 101 for i, name in enumerate(names)}
    row |= {"device": "cpu", "precision": run.recipe.precision, "kdbench_version": "0"}
    result = {"status": "done", "row": row, "architecture": "small", "deployed": {}, "files": checksums(folder)}
    store.write_result(run.id, result)


def _cohorts(sizes: Sequence[int], pair: str, precision: str, steps: int) -> None:
    _tell(f"{pair}, {precision}, {BATCH} images a step; memory in MB")
    columns = ("members", "s a step", "s a member", "memory", "libraries", "members' own", "the rest", "rest ratio")
    _tell("".join(f"{column:>14}" for column in columns))
    first = None
    for size in sizes:
        found = _in_a_child(size, pair, precision, steps)
        rest = found["memory"] - found["libraries"] - found["own"]
        first = first or rest
        memory = (f"{mb:.1f}" for mb in (found["memory"], found["libraries"], found["own"], rest))
        shown = (str(size), f"{found['seconds']:.3f}", f"{found['seconds'] / size:.3f}", *memory, f"{rest / first:.3f}")
        _tell("".join(f"{text:>14}" for text in shown))


def _in_a_child(size: int, pair: str, precision: str, steps: int) -> dict[str, float]:
    asked = ["--sizes", str(size), "--pair", pair, "--precision", precision, "--steps", str(steps), "--child"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, __file__, "cohort", *asked], stdout=subprocess.PIPE, text=True, env=environment, check=True
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _train(size: int, pair: str, precision: str, steps: int) -> dict[str, float]:
    """Seconds a step of the whole cohort, the peak of memory, and its parts."""
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
    own = sum(map(_bytes, members))
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
        Member(str(place), methods.create(["vanilla"], student=student, teacher=frozen), recipe, place)
        for place, student in enumerate(students)
    ]
    images, labels = torch.randint(0, 256, (steps * BATCH, *SHAPE), dtype=torch.uint8), torch.arange(steps * BATCH)
    moments = {"mean": (0.5,) * SHAPE[0], "std": (0.25,) * SHAPE[0]}
    batches = Batches(images, labels % CLASSES, labels, **moments, recipe=recipe, seed=0)
    return CohortLoop(members, batches, [frozen], lambda one: {}, lambda epoch, active: None), members


def _bytes(member: Any) -> int:
    """Of a member's weights, buffers and moments."""
    import torch

    moments = [
        value
        for optimizer in member.optimizers.values()
        for state in optimizer.state_dict()["torch"]["state"].values()
        for value in state.values()
        if isinstance(value, torch.Tensor)
    ]
    held = [*member.method.student.state_dict().values(), *moments]
    return sum(value.nbytes for value in held)


def _peak() -> int:
    """The most bytes that this process has held; ru_maxrss is in KiB, on macOS in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 2**10


def _tell(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
