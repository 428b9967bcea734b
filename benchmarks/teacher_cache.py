"""Train one more method of a matrix, with the teacher's outputs computed and with them read from the teacher cache.

    python benchmarks/teacher_cache.py [--pair TEACHER:STUDENT] [--precision bf16] [--steps 4] [--epochs 2] [--rounds 5]

One process on one core trains a teacher and a first method, which fills the cache. Then it trains a second method, in
turn without and with the cache, as complete runs: reading the data, training, evaluation, files. Images are random,
with CIFAR-100's shape: their content does not matter here. It prints the seconds and the ratio of each round, and
checks that the weights are the same with and without the cache.
"""

import argparse
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from processes import format_spread, print_line

from kdbench.matrix import RunSpec, parse
from kdbench.plan import make_plan
from kdbench.results import Store
from kdbench.worker.cohort import CohortWorker
from kdbench.worker.options import Options

CLASSES, SHAPE, BATCH, TEST = 100, (32, 32, 3), 64, 64
FIRST, SECOND = "vanilla", "rkd_v2"
GIGABYTES = 2.0


def main() -> None:
    """Print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pair", default="wrn_40_2:wrn_16_2")
    parser.add_argument("--precision", choices=["bf16", "fp32"], default="bf16")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="kdbench-teacher-cache-") as folder:
        os.environ["KDBENCH_CACHE"] = f"{folder}/cache"
        runs = _runs(Path(folder), args.pair, args.precision, args.steps, args.epochs)
        without, cached = _compare(Path(folder), runs, args.rounds)
    print_line(f"{args.pair} in {args.precision}, {args.epochs} epochs of {args.steps} steps of {BATCH} images, 1 core")
    print_line(f"  teacher computed: {format_spread(without, ' s')}")
    print_line(f"  teacher cached:   {format_spread(cached, ' s')}")
    ratios = [slow / fast for slow, fast in zip(without, cached, strict=True)]
    print_line(f"  the cache makes the run faster {format_spread(ratios, ' times')}")


def _runs(folder: Path, pair: str, precision: str, steps: int, epochs: int) -> dict[str, RunSpec]:
    """Return the teacher's run and a run of each method."""
    random = np.random.default_rng(0)
    arrays = {}
    for part, size in {"train": steps * BATCH, "test": TEST}.items():
        arrays[f"{part}_images"] = random.integers(0, 256, (size, *SHAPE), dtype=np.uint8)
        arrays[f"{part}_labels"] = np.arange(size) % CLASSES
    np.savez(folder / "images.npz", **arrays)
    teacher, student = pair.split(":")
    raw = {
        "name": "teacher_cache",
        "datasets": ["images"],
        "dataset": {"images": {"kind": "npz", "root": str(folder / "images.npz")}},
        "pairs": [{"teacher": teacher, "student": student}],
        "recipe": {
            "epochs": epochs,
            "batch_size": BATCH,
            "precision": precision,
            "augment": ["crop", "flip"],
            "teacher": {"epochs": 1},
        },
        "protocol": {"validation": 0},
        "methods": {FIRST: {}, SECOND: {}},
    }
    cells = make_plan(parse(raw, "teacher_cache.toml")).cells
    return {"teacher" if cell.kind == "teacher" else cell.label: cell.runs[0] for cell in cells}


def _compare(folder: Path, runs: dict[str, RunSpec], rounds: int) -> tuple[list[float], list[float]]:
    """Return the seconds of the second method without and with the cache, one pair per round."""
    store = Store(folder / "results")
    _train(store, [runs["teacher"]], 0.0)
    _train(store, [runs[FIRST]], GIGABYTES)
    times: dict[float, list[float]] = {0.0: [], GIGABYTES: []}
    weights = set()
    for number in range(rounds + 1):  # the first one warms up
        for gigabytes in sorted(times, reverse=number % 2 == 1):
            copy = Store(folder / "copy")
            shutil.copytree(store.root, copy.root, dirs_exist_ok=True)
            seconds = _train(copy, [runs[SECOND]], gigabytes)
            weights.add((copy.folder(runs[SECOND].id) / "weights.safetensors").read_bytes())
            shutil.rmtree(copy.root)
            if number:
                times[gigabytes].append(seconds)
    if len(weights) != 1:
        raise SystemExit("the weights differ")
    return times[0.0], times[GIGABYTES]


def _train(store: Store, runs: Sequence[RunSpec], gigabytes: float) -> float:
    start = perf_counter()
    device = torch.device("cpu")
    CohortWorker(runs, store, device, lambda event: None, Options(teacher_cache_gb=gigabytes)).train()
    seconds = perf_counter() - start
    for run in runs:
        if store.state(run.id) != "done":
            raise SystemExit(f"{run.method}: {(store.result(run.id) or {}).get('error')}")
    return seconds


if __name__ == "__main__":
    main()
