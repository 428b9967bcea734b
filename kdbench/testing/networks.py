"""Tiny networks and a batch of random images, on which the checks train."""

import torch
from torch import Tensor, nn

from kdbench.training.method import Batch, Output, Task
from kdbench.training.network import Network

TASK = Task(num_classes=4, train_size=64, image_shape=(3, 8, 8), batch_size=8)


class TinyNetwork(Network):
    """Three stages of one convolution each, of 8x8, 4x4 and 2x2 pixels."""

    def __init__(self, widths: tuple[int, int, int]) -> None:
        super().__init__(TASK.num_classes, TASK.image_shape)
        self.stem = nn.Conv2d(TASK.image_shape[0], widths[0], 3, padding=1)
        self.stages = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(before, after, 3, padding=1, stride=1 if index == 0 else 2, bias=False),
                nn.BatchNorm2d(after),
            )
            for index, (before, after) in enumerate(zip((widths[0], *widths), widths, strict=False))
        )
        self.head = nn.Linear(widths[-1], TASK.num_classes)

    def forward(self, images: Tensor) -> Output:
        """Return the `Output` for images (B, 3, 8, 8)."""
        features, stages, preacts = self.stem(images), [], []
        for stage in self.stages:
            preacts.append(stage(features))
            features = torch.relu(preacts[-1])
            stages.append(features)
        embedding = features.mean(dim=(2, 3))
        return Output(self.head(embedding), tuple(stages), tuple(preacts), embedding)


def tiny_network(seed: int, widths: tuple[int, int, int] = (4, 6, 8)) -> TinyNetwork:
    """Return a network with the weights of a seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return TinyNetwork(widths)


def tiny_teacher() -> TinyNetwork:
    """Return a network that is wider than the student."""
    return tiny_network(2, (6, 8, 12))


def random_batch(views: int = 1) -> Batch:
    """Return eight images (3, 8, 8), two of each of four classes, in as many views as a method needs."""
    generator, size = torch.Generator().manual_seed(0), TASK.batch_size
    images = tuple(torch.randn(size, *TASK.image_shape, generator=generator, device="cpu") for _ in range(views))
    indices = torch.arange(size, device="cpu")
    return Batch(images[0], indices % TASK.num_classes, indices, progress=0.5, views=images)
