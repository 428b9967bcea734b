"""Cache the outputs of frozen teachers on disk, for later runs that see the same batches.

A batch is a function of seed, epoch and position, and so is a frozen teacher's output for it. The cache holds the exact
logits, in their own dtype, so a run has the same numbers with and without it. It also holds the embeddings, if a method
reads them. Feature maps are hundreds of times larger and are never cached.
"""

import platform
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import final

import torch
from safetensors.torch import load, save
from torch import Tensor

from kdbench.data.cache import cache_folder
from kdbench.matrix import RunSpec
from kdbench.matrix.identity import canonical, digest
from kdbench.matrix.plan_digest import source_digest
from kdbench.methods.offline import Reads
from kdbench.training.method import Method
from kdbench.training.network import Frozen
from kdbench.training.stopwatch import Stopwatch
from kdbench.worker.disk_cache import LRUCache

# fields of a recipe that change neither the batches nor the teacher's outputs
IRRELEVANT = frozenset(
    [
        *("epochs", "optimizer", "schedule", "grad_clip_norm", "early_stopping", "monitor", "strong_augment"),
        "steps_per_epoch",
    ]
)
OVERHEAD = 1024  # bytes of a file beside the tensors, at most


@final
class TeacherCache:
    """A `TeacherForward` that reads a teacher's outputs from disk, or computes and writes them, one file per epoch.

    Nothing is written if the outputs of all epochs together exceed the cache's limit.

    Args:
        teacher: the teacher.
        cache: the files.
        key: the folder of this teacher and these batches (`cache_key`).
        epochs: the number of epochs of the run.
        steps: the number of batches per epoch.
        warn: called once if the cache cannot be written to; training continues without it.
        embeddings: whether embeddings are cached beside the logits.
    """

    def __init__(
        self,
        teacher: Frozen,
        cache: LRUCache,
        key: str,
        epochs: int,
        steps: int,
        warn: Callable[[str], None],
        embeddings: bool = False,
    ) -> None:
        self._teacher, self._cache, self._warn = teacher, cache, warn
        self._epochs, self._steps = epochs, steps
        self._fields = ("logits", "embedding") if embeddings else ("logits",)
        with_embeddings = f"{key}-embedding"  # its files hold the logits too
        self._folders = [with_embeddings] if embeddings else [key, with_embeddings]  # the first one is written to
        self._cached: list[Tensor] | None = None  # the epoch's outputs from disk; per field (steps, B, K or D)
        self._computed: list[list[Tensor]] = []  # the epoch's outputs so far; per batch and field (B, K or D)
        self._seconds = 0.0  # that each output of the epoch from disk took to compute
        self._costs: list[Stopwatch] = []  # of the epoch's computed outputs so far
        self._device = next(teacher.parameters()).device

    def forward(self, images: Tensor, epoch: int, position: int) -> Stopwatch:
        """Put the cached fields of the output for images (B, C, H, W) into the teacher's cache, and no others.

        Returns:
            How long the output took to compute, in this run or in the one that wrote it to disk.
        """
        cost = Stopwatch(self._device)
        if position == 0:
            self._computed, self._costs, self._cached = [], [], self._read(epoch, len(images))
        if self._cached is not None:
            cost.set(self._seconds)
            # cloned, so that it is aligned in memory like a computed output
            self._teacher.cache_partial(images, *(field[position].clone() for field in self._cached))
            return cost
        with cost.running():
            output = self._teacher(images)
        fields = [getattr(output, name) for name in self._fields]
        self._teacher.cache_partial(images, *fields)
        if self._is_cacheable(fields):
            self._computed.append([field.clone() for field in fields])
            self._costs.append(cost)
            if len(self._computed) == self._steps:
                self._write(epoch)
        return cost

    def _read(self, epoch: int, batch_size: int) -> list[Tensor] | None:
        for folder in self._folders:
            content = self._cache.read(f"{folder}/{epoch}")
            tensors = {} if content is None else load(content)
            if tensors and tensors["logits"].shape[:2] == (self._steps, batch_size):
                self._seconds = tensors["seconds"].item() / self._steps
                return [tensors[name].to(self._device) for name in self._fields]
        return None

    def _is_cacheable(self, fields: Sequence[Tensor]) -> bool:
        size = self._steps * sum(field.nbytes for field in fields) + OVERHEAD
        return all(field.is_contiguous() for field in fields) and self._epochs * size <= self._cache.limit

    def _write(self, epoch: int) -> None:
        tensors = {
            name: torch.stack(batches).cpu()
            for name, batches in zip(self._fields, zip(*self._computed, strict=True), strict=True)
        }
        self._computed = []
        seconds = torch.tensor(sum(cost.seconds for cost in self._costs), dtype=torch.float64)
        try:
            self._cache.write(f"{self._folders[0]}/{epoch}", save({**tensors, "seconds": seconds}))
        except OSError as error:
            self._cache = LRUCache(self._cache.folder, 0)
            self._warn(
                f"{self._cache.folder}: cannot write to the cache of teacher outputs ({error.strerror or error}), so "
                "every cohort computes them again; set KDBENCH_CACHE to a writable folder, or run.teacher_cache_gb to 0"
            )


def open_cache(gigabytes: float) -> LRUCache:
    """Return the cache of teacher outputs, in the user's cache folder; it serves every results folder."""
    return LRUCache(cache_folder() / "teacher_outputs", int(gigabytes * 1e9))


def fields_read(teacher: Frozen, methods: Iterable[Method]) -> Reads:
    """Return the most that any of the methods reads of a teacher's output; "maps" if one declares nothing."""
    reads = [
        getattr(method, "reads", "maps") for method in methods if any(module is teacher for module in method.modules())
    ]
    if all(each == "logits" for each in reads):
        return "logits"
    return "embedding" if all(each in ("logits", "embedding") for each in reads) else "maps"


def cache_key(run: RunSpec, teacher: RunSpec, weights: str, device: torch.device) -> str:
    """Return a hash that is equal for runs for which the teacher's outputs are equal, bit for bit.

    It covers the teacher, everything that determines the first view of a batch, the precision, kdbench's source, torch,
    and the hardware. Every field of a recipe counts unless it is in `IRRELEVANT`.

    Args:
        run: the run that trains.
        teacher: the teacher's run.
        weights: the SHA-256 of the teacher's weights file.
        device: where the teacher's outputs are computed.
    """
    recipe = run.recipe.model_dump(mode="json", exclude=set(IRRELEVANT))
    batches = [run.dataset.canonical, run.split.canonical, recipe, run.stream_seed]
    software = [source_digest(), torch.__version__, torch.get_num_threads(), _hardware(device)]
    return digest(canonical([teacher.id, weights, batches, software]))


def _hardware(device: torch.device) -> list[str | int | None]:
    """Return what determines which kernels compute."""
    if device.type == "cuda":
        cudnn: int | None = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
        return [torch.cuda.get_device_name(device), torch.version.cuda, cudnn]
    try:
        first = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n\n")[0]
    except OSError:
        return [platform.machine(), platform.processor(), platform.node()]
    fields = ("vendor_id", "cpu family", "model", "flags", "CPU ", "Features")
    return [torch.backends.cpu.get_cpu_capability(), *(line for line in first.splitlines() if line.startswith(fields))]
