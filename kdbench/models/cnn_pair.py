"""A plain convolutional teacher and student for small images: `cnn_teacher` and `cnn_student`."""

from dataclasses import dataclass
from difflib import get_close_matches
from typing import final

from torch import Tensor, nn

from kdbench.models.family import Family, ImageShape
from kdbench.models.staged import Stage, StagedNetwork, kaiming

MAX_SIDE = 4  # of the map that the fully connected layers see
DROPOUT = 0.5


@final
@dataclass(frozen=True)
class Layout:
    """Widths of the convolutions by stage, whether they have batch norm, and widths of the fully connected layers."""

    convolutions: tuple[tuple[int, ...], ...]
    has_norm: bool
    hidden: tuple[int, ...]  # before the classifier


LAYOUTS = {
    "cnn_teacher": Layout(((32, 32), (64, 64), (128,)), has_norm=True, hidden=(512, 128)),
    "cnn_student": Layout(((32,), (32,), (64,)), has_norm=False, hidden=(128,)),
}
EXAMPLES = tuple(LAYOUTS)


@final
class Convolutions(Stage):
    """Max pooling if `has_pooling`, then 3x3 convolutions with bias, each with ReLU, and batch norm if `has_norm`."""

    def __init__(self, inputs: int, widths: tuple[int, ...], *, has_pooling: bool, has_norm: bool) -> None:
        super().__init__()
        # ceil_mode keeps a 1x1 map
        self.pool = nn.MaxPool2d(2, ceil_mode=True) if has_pooling else nn.Identity()
        layers: list[nn.Module] = []
        for outputs in widths:
            norm = [nn.BatchNorm2d(outputs)] if has_norm else []
            layers += [nn.Conv2d(inputs, outputs, kernel_size=3, padding=1), *norm, nn.ReLU()]
            inputs = outputs
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Return the maps of the last convolution after and before the ReLU."""
        preact: Tensor = self.layers(self.pool(maps))
        return preact.relu(), preact


def nearest_name(name: str) -> str | None:
    """Return the name that `name` resembles, or None."""
    close = get_close_matches(name, EXAMPLES, n=1, cutoff=0.8)
    return close[0] if close else None


def build(name: str, num_classes: int, image_shape: ImageShape) -> StagedNetwork:
    """Build the network of a valid name for images (C, H, W)."""
    layout = LAYOUTS[name]
    inputs, *sides = image_shape
    stages: list[Convolutions] = []
    for widths in layout.convolutions:
        has_pooling = bool(stages)
        stages.append(Convolutions(inputs, widths, has_pooling=has_pooling, has_norm=layout.has_norm))
        sides = [_ceil(side, 2) for side in sides] if has_pooling else sides
        inputs = widths[-1]
    kernel = _ceil(sides[0], MAX_SIDE), _ceil(sides[1], MAX_SIDE)
    features = inputs * _ceil(sides[0], kernel[0]) * _ceil(sides[1], kernel[1])
    pool = nn.Sequential(nn.MaxPool2d(kernel, ceil_mode=True), nn.Flatten())
    for number, width in enumerate(layout.hidden):
        pool.extend([nn.Dropout(DROPOUT)] if number else [])
        pool.extend([nn.Linear(features, width), nn.ReLU()])
        features = width
    head = nn.Linear(features, num_classes)
    network = StagedNetwork(image_shape, stem=nn.Identity(), stages=stages, pool=pool, head=head, dropout=DROPOUT)
    return kaiming(network)


def _ceil(size: int, divisor: int) -> int:
    return -(-size // divisor)


FAMILY = Family(
    pattern="cnn_teacher, cnn_student",
    examples=EXAMPLES,
    rule="one of cnn_teacher, cnn_student",
    description=(
        "Plain convolutional teacher and student: 3x3 convolutions with bias and ReLU in three stages (teacher 32-32, "
        "64-64, 128, with batch norm; student 32, 32, 64, without) with 2x2 max pooling in between. A map of at most "
        "4x4 goes to fully connected layers (512-128; 128), each with dropout 0.5; the embedding is read before the "
        "last dropout. For 10 classes of 3x32x32 pixels they have 1,256,106 and 161,130 parameters."
    ),
    paper=("batch norm: Ioffe and Szegedy, ICML 2015, arXiv:1502.03167; dropout: Srivastava et al., JMLR 15, 2014"),
    nearest_name=nearest_name,
    build=build,
)
