"""Teachers that were asked about the same batches before: what they said is kept, and repeated from disk.

Batches are functions of seed, epoch and position, and so is what a frozen teacher says of them. What is kept is exactly
what it said, in its own type, so that a run has the same numbers with and without. It is its logits, and where somebody
reads them its embeddings; maps are hundreds of times as large.
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

UNSEEN = {"epochs", "optimizer", "schedule", "grad_clip_norm", "early_stopping", "strong_augment", "steps_per_epoch"}
HEAD = 1024  # bytes of a file beside what was said, at most


@final
class TeacherCache:
    """What one teacher says of the batches of a run of `epochs` with `steps` each.

    Its logits, and with `embeddings` these too. They are kept under `name`, a file an epoch, if all epochs find room on
    the cache together. `warn` hears once of what stands in the way of that, which is no reason for a run to fail.
    """

    def __init__(
        self,
        teacher: Frozen,
        cache: LRUCache,
        name: str,
        epochs: int,
        steps: int,
        warn: Callable[[str], None],
        embeddings: bool = False,
    ) -> None:
        self._teacher, self._cache = teacher, cache
        self._epochs, self._steps, self._warn = epochs, steps, warn
        self._parts = ("logits", "embedding") if embeddings else ("logits",)
        self._names = [f"{name}-embedding"] if embeddings else [name, f"{name}-embedding"]  # the first is its own
        self._known: list[Tensor] | None = None  # of the present epoch, each part (steps, B, K or D)
        self._fresh: list[list[Tensor]] = []  # of the present epoch as far as it is computed, each part (B, K or D)
        self._saved_seconds = 0.0
        self._device = next(teacher.parameters()).device
        self._watch = Stopwatch(self._device)

    @property
    def saved_seconds(self) -> float:
        """How long it took to compute what then was only repeated."""
        return self._saved_seconds

    def ask(self, images: Tensor, epoch: int, position: int) -> None:
        """Have the teacher remember what is kept of the images (B, C, H, W) at a position of an epoch, and no more."""
        if position == 0:
            self._fresh, self._known = [], self._recall(epoch, images)
            self._watch = Stopwatch(self._device)
        if self._known is not None:
            # cloned, to be as aligned in memory as a computed one
            self._teacher.cache_partial(images, *(part[position].clone() for part in self._known))
            return
        with self._watch.running():
            output = self._teacher(images)
        said = [getattr(output, part) for part in self._parts]
        self._teacher.cache_partial(images, *said)
        if self._may_be_kept(said):
            self._fresh.append([part.clone() for part in said])
            if len(self._fresh) == self._steps:
                self._keep(epoch)

    def _recall(self, epoch: int, images: Tensor) -> list[Tensor] | None:
        for name in self._names:
            content = self._cache.read(f"{name}/{epoch}")
            kept = {} if content is None else load(content)
            if kept and kept["logits"].shape[:2] == (self._steps, len(images)):
                self._saved_seconds += kept["seconds"].item()
                return [kept[part].to(self._device) for part in self._parts]
        return None

    def _may_be_kept(self, said: Sequence[Tensor]) -> bool:
        size = self._steps * sum(part.nbytes for part in said) + HEAD
        return all(part.is_contiguous() for part in said) and self._epochs * size <= self._cache.limit

    def _keep(self, epoch: int) -> None:
        whole = [torch.stack(part).cpu() for part in zip(*self._fresh, strict=True)]
        seconds = torch.tensor(self._watch.seconds, dtype=torch.float64)
        self._fresh = []
        content = save({**dict(zip(self._parts, whole, strict=True)), "seconds": seconds})
        try:
            self._cache.write(f"{self._names[0]}/{epoch}", content)
        except OSError as error:
            self._cache = LRUCache(self._cache.folder, 0)
            self._warn(
                f"{self._cache.folder}: what teachers say cannot be kept there ({error.strerror or error}), so it is "
                "computed again each time; set KDBENCH_CACHE to a folder that can be written to, or "
                "run.teacher_cache_gb to 0"
            )


def disk_cache(gigabytes: float) -> LRUCache:
    """The place of what teachers said, beside the decoded data: it serves every results folder."""
    return LRUCache(cache_folder() / "replay", int(gigabytes * 1e9))


def outputs_read(teacher: Frozen, methods: Iterable[Method]) -> Reads:
    """The most that any of the methods looks at of a teacher's outputs: "maps" of one that does not say."""
    said = [getattr(m, "reads", "maps") for m in methods if any(module is teacher for module in m.modules())]
    if all(reads == "logits" for reads in said):
        return "logits"
    return "embedding" if all(reads in ("logits", "embedding") for reads in said) else "maps"


def cache_key(run: RunSpec, teacher: RunSpec, weights: str, device: torch.device) -> str:
    """Equal for runs for which what a teacher says is the same, bit for bit; `weights`: the hash of the teacher's.

    In it: the teacher, all that decides the first view of a batch, the precision, kdbench's source, torch and the
    processor. What a recipe may come to have later is in it until it is known not to matter (`UNSEEN`).
    """
    seen = run.recipe.model_dump(mode="json", exclude=UNSEEN)
    batches = [run.dataset.canonical, run.split.canonical, seen, run.seed]
    made_with = [source_digest(), torch.__version__, torch.get_num_threads(), _processor(device)]
    return digest(canonical([teacher.id, weights, batches, made_with]))


def _processor(device: torch.device) -> list[str | int | None]:
    """What decides which kernels compute."""
    if device.type == "cuda":
        cudnn: int | None = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
        return [torch.cuda.get_device_name(device), torch.version.cuda, cudnn]
    try:
        first = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n\n")[0]
    except OSError:
        return [platform.machine(), platform.processor(), platform.node()]
    named = ("vendor_id", "cpu family", "model", "flags", "CPU ", "Features")
    return [torch.backends.cpu.get_cpu_capability(), *(line for line in first.splitlines() if line.startswith(named))]
