"""The plain loop of published repositories on all runs of a matrix, for `end_to_end.py`. Not a script.

Each run is trained in float32 in contiguous memory format, with torchvision's transforms in a DataLoader; it is
evaluated on the validation images after every epoch, and on the test images at the end, and prints both accuracies. A
teacher is trained once per seed and stored in a file, as published scripts do.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Literal, final

import numpy as np
import torch
from contenders import ImageDataset, LogitsOnly, plain_optimizer, plain_step
from processes import print_line
from torch import nn
from torch.utils.data import DataLoader
from vanilla import BATCH, Configurations

from kdbench.data.splits import split

IMAGES = "images.npz"  # in the layout of MedMNIST


@final
@dataclass(frozen=True)
class PlainRun:
    """A run of the plain loop; `alpha` and `temperature` apply to a student with a teacher."""

    role: Literal["teacher", "scratch", "vanilla"]
    seed: int
    alpha: float = 0.0
    temperature: float = 1.0

    def __str__(self) -> str:
        parameters = f" alpha={self.alpha:g} temperature={self.temperature:g}" if self.role == "vanilla" else ""
        return f"{self.role}{parameters} seed={self.seed}"


def list_runs(seeds: int, teachers: int, configurations: Configurations) -> list[PlainRun]:
    """Return all runs of a matrix: teachers first, then students from scratch, then distilled students."""
    return [
        *(PlainRun("teacher", seed) for seed in range(teachers)),
        *(PlainRun("scratch", seed) for seed in range(seeds)),
        *(PlainRun("vanilla", seed, *each) for each, seed in product(configurations, range(seeds))),
    ]


def train_next_run(runs: Sequence[PlainRun], pair: str, epochs: int, folder: Path) -> None:
    """Train the first run that no other process has begun, and print its accuracies.

    Args:
        runs: all runs of the matrix, as `list_runs` returns them.
        pair: `TEACHER:STUDENT`.
        epochs: epochs of each run.
        folder: where the images are; all processes share it for the trained teachers.
    """
    loaders = _make_loaders(folder / IMAGES)
    teacher, student = pair.split(":")
    teachers = sum(run.role == "teacher" for run in runs)
    run = next(run for run in runs if _claim(folder / str(run)))
    torch.manual_seed(run.seed)
    network = LogitsOnly(teacher if run.role == "teacher" else student)
    frozen = _wait_for_teacher(teacher, folder / f"{run.seed % teachers}.pt") if run.role == "vanilla" else None
    _train(network, frozen, run, epochs, loaders)
    if run.role == "teacher":
        _save(network, folder / f"{run.seed}.pt")
    print_line(f"{run}: test accuracy {_accuracy(network, loaders['test']):.4f}")


def _claim(path: Path) -> bool:
    """Create a file; return False if another process has created it before."""
    try:
        path.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def _train(network: nn.Module, teacher: nn.Module | None, run: PlainRun, epochs: int, loaders: dict[str, Any]) -> None:
    optimizer = plain_optimizer(network)
    for epoch in range(epochs):
        network.train()
        for batch in loaders["train"]:
            plain_step(network, teacher, optimizer, batch, run.alpha, run.temperature)
        print_line(f"{run}: epoch {epoch + 1}, validation accuracy {_accuracy(network, loaders['val']):.4f}")


def _make_loaders(path: Path) -> dict[str, Any]:
    with np.load(path) as arrays:
        images, labels = arrays["train_images"], arrays["train_labels"]
        test = arrays["test_images"], arrays["test_labels"]
    indices = split(labels, 0.1, 0)
    parts = {
        "train": (images[indices.train], labels[indices.train]),
        "val": (images[indices.validation], labels[indices.validation]),
        "test": test,
    }
    return {name: _make_loader(*part, is_training=name == "train") for name, part in parts.items()}


def _make_loader(images: Any, labels: Any, is_training: bool) -> Any:
    dataset = ImageDataset(images, labels.tolist(), augment=is_training)
    return DataLoader(dataset, BATCH, shuffle=is_training, drop_last=is_training)


@torch.no_grad()
def _accuracy(network: nn.Module, loader: Any) -> float:
    network.eval()
    return float(torch.cat(list(_correct(network, loader))).float().mean())


def _correct(network: nn.Module, loader: Any) -> Iterator[torch.Tensor]:
    for images, labels in loader:
        yield network(images).argmax(dim=1) == labels


def _save(network: nn.Module, path: Path) -> None:
    new = path.with_suffix(".new")
    torch.save(network.state_dict(), new)
    new.rename(path)


def _wait_for_teacher(name: str, path: Path) -> nn.Module:
    """Return a trained teacher as soon as the process that trains it has stored it."""
    while not path.exists():
        time.sleep(0.05)
    teacher = LogitsOnly(name)
    teacher.load_state_dict(torch.load(path))
    return teacher.eval()
