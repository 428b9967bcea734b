"""A plain convolutional teacher and student for small images: `cnn_teacher` and `cnn_student`."""

from difflib import get_close_matches
from typing import final

from torch import Tensor, nn

from kdbench.models.family import Family, ImageShape
from kdbench.models.staged import Stage, StagedNetwork, conv3x3, kaiming

EXAMPLES = ("cnn_teacher", "cnn_student")

# widths of the convolutions, by stage; widths of the fully connected layers before the classifier
LAYERS: dict[str, tuple[tuple[tuple[int, ...], ...], tuple[int, ...]]] = {
    "cnn_teacher": (((32, 32), (64, 64), (128,)), (512, 128)),
    "cnn_student": (((32,), (32,), (64,)), (128,)),
}
MAX_SIDE = 4  # of the map that the fully connected layers see
DROPOUT = 0.5


@final
class Convolutions(Stage):
    """Max pooling if `has_pooling`, then 3x3 convolutions, each with batch norm and ReLU."""

    def __init__(self, inputs: int, widths: tuple[int, ...], has_pooling: bool) -> None:
        super().__init__()
        # ceil_mode keeps a 1x1 map
        self.pool = nn.MaxPool2d(2, ceil_mode=True) if has_pooling else nn.Identity()
        layers: list[nn.Module] = []
        for outputs in widths:
            layers += [conv3x3(inputs, outputs), nn.BatchNorm2d(outputs), nn.ReLU()]
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
    widths, hidden = LAYERS[name]
    inputs, *sides = image_shape
    stages: list[Convolutions] = []
    for stage in widths:
        has_pooling = bool(stages)
        stages.append(Convolutions(inputs, stage, has_pooling))
        sides = [_ceil(side, 2) for side in sides] if has_pooling else sides
        inputs = stage[-1]
    kernel = _ceil(sides[0], MAX_SIDE), _ceil(sides[1], MAX_SIDE)
    features = inputs * _ceil(sides[0], kernel[0]) * _ceil(sides[1], kernel[1])
    pool = nn.Sequential(nn.MaxPool2d(kernel, ceil_mode=True), nn.Flatten())
    for width in hidden:
        pool.extend([nn.Linear(features, width), nn.ReLU(), nn.Dropout(DROPOUT)])
        features = width
    head = nn.Linear(features, num_classes)
    return kaiming(StagedNetwork(image_shape, stem=nn.Identity(), stages=stages, pool=pool, head=head))


def _ceil(size: int, divisor: int) -> int:
    return -(-size // divisor)


FAMILY = Family(
    pattern="cnn_teacher, cnn_student",
    examples=EXAMPLES,
    rule="one of cnn_teacher, cnn_student",
    description=(
        "Plain convolutional teacher and student: 3x3 convolutions with batch norm and ReLU in three stages (teacher "
        "32-32, 64-64, 128; student 32, 32, 64) with 2x2 max pooling in between. A map of at most 4x4 goes to fully "
        "connected layers (512-128; 128) with dropout 0.5."
    ),
    paper=("batch norm: Ioffe and Szegedy, ICML 2015, arXiv:1502.03167; dropout: Srivastava et al., JMLR 15, 2014"),
    nearest_name=nearest_name,
    build=build,
)
