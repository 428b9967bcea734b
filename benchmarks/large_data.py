"""Train on a data set that is larger than the memory a worker may use, and on one that fits.

    python benchmarks/large_data.py [--gib 20] [--small 0.5] [--side 224] [--network cnn_4_4] [--steps 50] [--epochs 4]
        [--folder FOLDER]

Both sets have images of `side` x `side` pixels in the memory-mapped form of kdbench's cache; their content is a block
of random bytes, repeated, and all of it is on disk. A worker trains the network on `steps` batches of 64 images per
epoch, chosen at random from the whole set. Before each timed epoch (all but the first) the pages of the larger set are
removed from the system's cache, so that every image is read from disk; the smaller set stays in the cache.

It prints the time per step with the CPU time in it, and the peak of the worker's resident memory with its two parts:
anonymous memory, which only the process itself can give back, and mapped pages of files (also those of the libraries),
which the system can take at any time. The worker runs under a limit of 2 GiB of private memory (RLIMIT_DATA), so that
more would end it.
Requirement: less than 2 GiB of resident memory, and at most 1.1 times the seconds per step of the set that fits.
"""

import argparse
import json
import os
import resource
import statistics
import tempfile
import threading
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, final

import numpy as np
from processes import print_line, start_child

from kdbench import data
from kdbench.data.cache import ARRAYS, METADATA
from kdbench.data.dataset import compute_fingerprint
from kdbench.events import EpochEnded, Event, JobFailed, RunFailed
from kdbench.matrix import RunSpec
from kdbench.matrix.recipe import Crop, Flip, Recipe
from kdbench.matrix.spec import DataSpec, NetworkSpec, Part, Split
from kdbench.queue.executors.base import worker_environment

BATCH, CLASSES = 64, 10
BLOCK = 2**26  # bytes
LIMIT = 2 * 2**30  # bytes of private memory
STATUS = Path("/proc/self/status")


def main() -> None:
    """Measure both sets, or (as a child) train on one of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gib", type=float, default=20.0, help="size of the larger set")
    parser.add_argument("--small", type=float, default=0.5, help="size of the set that fits, in GiB")
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--network", default="cnn_4_4")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--epochs", type=int, default=4, help="the first is not timed")
    parser.add_argument("--folder", help="where a temporary folder with the images is made; needs --gib of disk space")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        _child(**json.loads(args.child))
        return
    images = {gib: int(gib * 2**30) // (3 * args.side**2) for gib in (args.small, args.gib)}
    if min(images.values()) < args.steps * BATCH:
        parser.error(f"{args.steps} steps need {args.steps * BATCH} images, but a set has only {min(images.values())}")
    work = {"network": args.network, "steps": args.steps, "epochs": args.epochs}
    measured = {}
    for name, gib in (("fits", args.small), ("large", args.gib)):
        with tempfile.TemporaryDirectory(dir=args.folder) as folder:
            measured[name] = _measure(Path(folder), images[gib], args.side, work, name)
    ratio = measured["large"] / measured["fits"]
    print_line(f"a step takes {ratio:.2f} times as long with {args.gib:g} GiB as with {args.small:g} GiB")


def _measure(folder: Path, images: int, side: int, work: dict[str, Any], name: str) -> float:
    """Write a set, train on it in a child, print what was measured, and return the seconds per step."""
    os.environ["KDBENCH_CACHE"] = str(folder / "cache")
    dataset = _write_dataset(folder, images, side)
    spec = _spec(dataset, **work)
    evicted = [str(path) for path in folder.glob("cache/*/train_images.npy")] if name == "large" else []
    arguments = {"spec": spec.to_json(), "results": str(folder / "results"), "evicted": evicted}
    child = start_child(arguments, worker_environment(1))
    output = child.communicate()[0]
    if child.returncode:
        raise SystemExit(f"the worker failed with {images} images: {output}")
    found = json.loads(output.splitlines()[-1])
    milliseconds = [[1000 * seconds / work["steps"] for seconds in kind] for kind in zip(*found["epochs"], strict=True)]
    step, cpu = (f"{statistics.median(kind):.0f} ms ({min(kind):.0f} to {max(kind):.0f})" for kind in milliseconds)
    print_line(
        f"{images * 3 * side**2 / 2**30:6.2f} GiB, {images} images of {side} x {side}: a step takes {step}, CPU time "
        f"{cpu}; the start {found['start']:.0f} s; peak of resident memory {found['VmHWM']:.0f} MiB, anonymous "
        f"{found['RssAnon']:.0f} MiB, mapped files {found['RssFile']:.0f} MiB"
    )
    return float(statistics.median(milliseconds[0]))


def _write_dataset(folder: Path, images: int, side: int) -> DataSpec:
    """Write a set into kdbench's cache: let kdbench cache a tiny one, and exchange the arrays."""
    root, labels = folder / "tiny.npz", np.arange(2 * CLASSES) % CLASSES
    tiny = np.zeros((2 * CLASSES, side, side, 3), dtype=np.uint8)
    np.savez(root, train_images=tiny, train_labels=labels, test_images=tiny, test_labels=labels)
    dataset = DataSpec("large", "npz", {"root": str(root)})
    data.load(dataset)
    (cache,) = (path.parent for path in folder.glob(f"cache/*/{METADATA}"))
    _write_images(cache / "train_images.npy", images, side)
    np.save(cache / "train_labels.npy", np.arange(images) % CLASSES)
    arrays = [np.load(cache / f"{name}.npy", mmap_mode="r") for name in ARRAYS]
    metadata = json.loads((cache / METADATA).read_text(encoding="utf-8"))
    metadata["fingerprint"] = compute_fingerprint(*arrays)
    (cache / METADATA).write_text(json.dumps(metadata), encoding="utf-8")
    return replace(dataset, fingerprint=metadata["fingerprint"])


def _write_images(path: Path, images: int, side: int) -> None:
    """Write random bytes as an array (N, 3, side, side)."""
    shape = (images, 3, side, side)
    block = np.random.default_rng(0).integers(0, 256, BLOCK, dtype=np.uint8)
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        remaining = images * 3 * side**2
        while remaining:
            remaining -= file.write(block[:remaining].data)
        file.flush()
        os.fsync(file.fileno())


def _spec(dataset: DataSpec, network: str, steps: int, epochs: int) -> RunSpec:
    recipe = Recipe(epochs=epochs, batch_size=BATCH, precision="fp32", augment=(Crop(), Flip()))
    recipe = recipe.model_copy(update={"train_samples": steps * BATCH})
    return RunSpec(dataset, NetworkSpec(network), (Part("scratch"),), recipe, Split(validation=0.0), seed=0)


@final
@dataclass
class Worker:
    """Measures a worker in its own process."""

    evicted: list[str]
    peaks: dict[str, float] = field(default_factory=dict)  # MiB
    ends: list[tuple[float, float]] = field(default_factory=list)  # of each epoch, after its files left the cache
    epochs: list[tuple[float, float]] = field(default_factory=list)  # seconds and CPU seconds of all but the first

    def on_event(self, event: Event) -> None:
        """Measure an epoch, and prepare the next one."""
        match event:
            case EpochEnded():
                if self.ends:
                    seconds, cpu = (now - last for now, last in zip(_clocks(), self.ends[-1], strict=True))
                    self.epochs.append((seconds, cpu))
                for path in self.evicted:
                    _evict(path)
                self.ends.append(_clocks())
            case RunFailed() | JobFailed():
                raise SystemExit(event.error)

    def sample_memory(self) -> None:
        """Keep the peak of each kind of memory, for ever."""
        while True:
            for line in STATUS.read_text(encoding="ascii").splitlines():
                name, _, value = line.partition(":")
                if name in ("VmHWM", "RssAnon", "RssFile"):
                    self.peaks[name] = max(self.peaks.get(name, 0.0), int(value.split()[0]) / 1024)
            time.sleep(0.02)


def _clocks() -> tuple[float, float]:
    """Return the time and the CPU time of this process."""
    return time.perf_counter(), time.process_time()


def _evict(path: str) -> None:
    """Remove a file from the system's cache."""
    with Path(path).open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _child(spec: dict[str, Any], results: str, evicted: list[str]) -> None:
    from kdbench.worker.job_runner import JobRunner

    worker = Worker(evicted)
    runner = JobRunner(results, "cpu", 1, None, worker.on_event)
    resource.setrlimit(resource.RLIMIT_DATA, (LIMIT, LIMIT))
    threading.Thread(target=worker.sample_memory, daemon=True).start()
    start = time.perf_counter()
    runner.run_job({"id": 1, "train": [spec]})
    first = worker.ends[0][0] - start
    print_line(json.dumps({**worker.peaks, "epochs": worker.epochs, "start": max(0.0, first - worker.epochs[0][0])}))


if __name__ == "__main__":
    main()
