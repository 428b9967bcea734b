"""Golden numbers of parts: every network family, augmentation and metric, and the order of images."""

from collections.abc import Iterator
from typing import get_args

import torch
from torch import Tensor, nn

from kdbench import models
from kdbench.analysis import classification_metrics
from kdbench.data.augment import augment
from kdbench.data.splits import split
from kdbench.matrix import recipe as recipes
from kdbench.training.evaluation import count_parameters
from kdbench.training.network import to_device
from kdbench.training.randomness import make_generator, seeded

Values = dict[str, dict[str, list[float]]]
SHAPE, CLASSES, BATCH = (3, 32, 32), 5, 8
LEARNING_RATE = 1e-4  # larger steps of deep networks amplify the last bits of float32
LARGEST = 300_000  # parameters of a network that is trained although its family has a smaller one
ALSO = ("cnn_teacher",)  # networks that differ from the smallest of their family in more than their size


def of_networks() -> Values:
    """Train the smaller networks of every family for two steps on eight images, and evaluate them."""
    return {f"network {name}": _network(name) for name in sorted(_small_networks())}


def _small_networks() -> Iterator[str]:
    for family in models.FAMILIES:
        sizes: dict[str, int] = {}
        for name in family.examples:
            with torch.device("meta"):
                sizes[name] = count_parameters(models.build(name, num_classes=CLASSES, image_shape=_shape(name)))
        smallest = min(sizes, key=lambda name: sizes[name])
        for name, size in sizes.items():
            if name == smallest or name in ALSO or (size < LARGEST and ":" not in name):
                yield name


def _shape(name: str) -> tuple[int, int, int]:
    side = 224 if "vit" in name else SHAPE[1]
    return (SHAPE[0], side, side)


def _network(name: str) -> dict[str, list[float]]:
    with seeded(0, "student"):
        network = models.build(name, num_classes=CLASSES, image_shape=_shape(name))
    for dropout in (module for module in network.modules() if isinstance(module, nn.Dropout)):
        dropout.p = 0.0  # the masks of torch differ between processors
    to_device(network, torch.device("cpu"))
    initial = [_summary(parameter.detach())[1] for parameter in network.parameters()]
    images, labels = fixed_images(BATCH, *_shape(name)) * 4 - 2, torch.arange(BATCH) % CLASSES
    optimizer = torch.optim.SGD(network.parameters(), lr=LEARNING_RATE)
    losses: list[float] = []
    for _ in range(2):
        loss = nn.functional.cross_entropy(network.train()(images).logits, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    with torch.no_grad():
        output = network.eval()(images)
    return {
        "parameters": [float(count_parameters(network))],
        "initial weights": initial,
        "losses": losses,
        "logits": output.logits[:2].flatten().tolist(),
        "embedding": _summary(output.embedding),
        **{f"stage {i}": _summary(stage) for i, stage in enumerate(output.stages)},
        **{f"preact {i}": _summary(preact) for i, preact in enumerate(output.preacts)},
    }


def _summary(values: Tensor) -> list[float]:
    """Return mean, root mean square, and a sum with fixed weights."""
    weights = torch.cos(torch.arange(values.numel(), dtype=torch.float64)).view(values.shape)
    double = values.double()
    return [float(v) for v in (double.mean(), double.square().mean().sqrt(), (double * weights).mean())]


def fixed_images(count: int, channels: int, height: int, width: int) -> Tensor:
    """Return images (N, C, H, W) in [0, 1] that no random generator and no rounding changes."""
    numbers = torch.arange(count * channels * height * width, dtype=torch.int64)
    return (((numbers * numbers * 7 + numbers * 31) % 251).float() / 250).view(count, channels, height, width)


def of_augmentations() -> Values:
    """Apply every augmentation to images that are square, and to some that are not."""
    found: Values = {}
    for table in get_args(get_args(recipes.Augmentation)[0]):
        one = table()
        results = [augment(fixed_images(6, 3, 9, width), (one,), make_generator("golden")) for width in (9, 7)]
        found[f"augmentation {one.name}"] = {
            f"9x{result.shape[3]}": [value for image in result for value in _summary(image)] for result in results
        }
    return found


def of_metrics() -> Values:
    """Compute all metrics of fixed logits, with classes that do not occur and with ties."""
    logits = (fixed_images(40, 1, 1, 7).view(40, 7) * 8).double()
    logits[:3] = logits[:3].round()
    labels = (torch.arange(40) ** 2) % 6
    found = classification_metrics(logits.numpy(), labels.numpy())
    return {"metrics": {name: [float(value)] for name, value in found.items()}}


def of_splits() -> Values:
    """Draw a split and a subset of training images."""
    labels = ((torch.arange(200) ** 2) % 7).numpy()
    indices = split(labels, 0.2, 3)
    parts = {"train": indices.train[:20], "validation": indices.validation}
    return {"split": {name: [float(index) for index in part] for name, part in parts.items()}}
