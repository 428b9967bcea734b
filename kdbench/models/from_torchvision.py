"""Every classifier of torchvision, as `torchvision:NAME`; torchvision is imported only if such a name is used."""

import math
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kdbench.errors import NetworkError
from kdbench.models.family import Family, ImageShape, PretrainedWeights
from kdbench.models.hooked import Activations, HookedNetwork, build_or_raise, dry_run

PREFIX = "torchvision:"
EXAMPLES = ("torchvision:resnet18", "torchvision:mobilenet_v3_small", "torchvision:vgg11_bn", "torchvision:vit_b_16")

TRANSFORMERS = ("vit_", "swin_")
MIN_KEPT_SHARE = 0.75  # a map that keeps a larger share of its pixels is not reduced, only cropped at the border
FIXED_SIZE = ("vit_", "maxvit")  # their weights fit images of one size
AUXILIARY = ("googlenet", "inception_v3")  # they have auxiliary classifiers, which kdbench does not train


def nearest_name(name: str) -> str | None:
    """Return the valid name nearest to `name`, or None if it does not start with `torchvision:`."""
    if not name.startswith(PREFIX):
        return None
    from torchvision import models

    bare, valid = name.removeprefix(PREFIX), models.list_models(module=models)
    return name if bare in valid else PREFIX + get_close_matches(bare, valid, n=1, cutoff=0)[0]


def build(name: str, num_classes: int, image_shape: ImageShape) -> HookedNetwork:
    """Build the network of a valid name, initialized by torchvision, for images (C, H, W).

    If C is not 3, the first convolution is replaced by one with C input channels and torch's default initialization.

    Raises:
        NetworkError: torchvision cannot build it for images of this shape.
    """
    return build_or_raise(name, image_shape, lambda: _build(name.removeprefix(PREFIX), num_classes, image_shape))


def identify_pretrained(name: str) -> tuple[str, int]:
    """Return the address of torchvision's default weights for a valid name, and their number of classes.

    Raises:
        NetworkError: kdbench cannot use them.
    """
    from torchvision import models

    if name.removeprefix(PREFIX) in AUXILIARY:
        raise NetworkError(
            f"network '{name}': its pretrained weights include auxiliary classifiers, which kdbench does not train; "
            "use another architecture, or timm's"
        )
    weights = models.get_model_weights(name.removeprefix(PREFIX)).DEFAULT
    return weights.url, len(weights.meta["categories"])


def check_pretrained(name: str, image_shape: ImageShape) -> None:
    """Check that torchvision's default weights fit images (C, H, W).

    Raises:
        NetworkError: they do not.
    """
    from torchvision import models

    architecture = name.removeprefix(PREFIX)
    if image_shape[0] != 3:
        raise NetworkError(
            f"network '{name}': torchvision's pretrained weights require images with 3 channels, got {image_shape[0]}; "
            "use 'timm:' (it adapts its weights) or color images"
        )
    size = tuple(models.get_model_weights(architecture).DEFAULT.meta["min_size"])
    if architecture.startswith(FIXED_SIZE) and image_shape[1:] != size:
        raise NetworkError(
            f"network '{name}': torchvision's pretrained weights require images (H, W) of {size}, got "
            f"{image_shape[1:]}; resize the images or use another network"
        )


def build_pretrained(name: str, num_classes: int, image_shape: ImageShape) -> HookedNetwork:
    """Build the network of a valid name with torchvision's default weights for images (C, H, W).

    If the number of classes differs, the classifier is re-initialized.

    Raises:
        NetworkError: the weights do not fit the images, or cannot be downloaded.
    """
    check_pretrained(name, image_shape)
    network = build(name, num_classes, image_shape)
    state = network.state_dict()
    (classifier,) = network.classifiers
    for key, value in _download_weights(name).items():
        if not key.startswith(f"{classifier}.") or value.shape == state[f"body.{key}"].shape:
            state[f"body.{key}"] = value
    network.load_state_dict(state)
    return network


def _download_weights(name: str) -> dict[str, Tensor]:
    from torchvision import models

    architecture = name.removeprefix(PREFIX)
    weights = models.get_model_weights(architecture).DEFAULT
    try:
        weights.get_state_dict(progress=False, check_hash=True, weights_only=True)  # raises if the file contains code
        # get_model also handles parameters that have been renamed since the file was written
        trained: nn.Module = models.get_model(architecture, weights=weights, progress=False)
    except Exception as error:  # a download raises various exceptions
        file = weights.url.rpartition("/")[2]
        raise NetworkError(
            f"network '{name}': its pretrained weights cannot be downloaded: {error}; copy the file {file} into "
            f"{Path(torch.hub.get_dir()) / 'checkpoints'}, run `kdbench retry`, then run the matrix again"
        ) from error
    return trained.state_dict()


def _build(architecture: str, num_classes: int, image_shape: ImageShape) -> HookedNetwork:
    from torchvision import models

    options = _options(architecture, image_shape)
    device = torch.get_default_device()
    # regnets compute their widths with tensors, which fails on the meta device
    with torch.device("cpu" if architecture.startswith("regnet") else device):
        body = models.get_model(architecture, weights=None, num_classes=num_classes, **options).to(device)
    if image_shape[0] != 3:
        _replace_first_convolution(body, image_shape[0])
    classifier = [path for path, module in body.named_modules() if isinstance(module, (nn.Linear, nn.Conv2d))][-1]
    end = classifier.split(".")[0]
    candidates = [path for path, m in _sequence(body) if path.split(".")[0] != end and not _is_skipped(m)]
    activations = dry_run(body, candidates, image_shape)
    layers = [] if architecture.startswith(TRANSFORMERS) else _last_before_reductions(activations)
    return HookedNetwork(body, num_classes, image_shape, layers=layers, classifiers=[classifier])


def _options(architecture: str, image_shape: ImageShape) -> dict[str, Any]:
    _, height, width = image_shape
    if architecture in AUXILIARY:
        return {"aux_logits": False, "init_weights": True}
    if architecture.startswith("vit_"):
        if height != width:
            raise ValueError("its images must be square")
        return {"image_size": height}
    return {"input_size": (height, width)} if architecture.startswith("maxvit") else {}


def _replace_first_convolution(body: nn.Module, channels: int) -> None:
    """Replace the first convolution by one with `channels` input channels."""
    path, old = next((path, module) for path, module in body.named_modules() if isinstance(module, nn.Conv2d))
    new = nn.Conv2d(
        channels,
        old.out_channels,
        kernel_size=old.kernel_size,  # type: ignore[arg-type]
        stride=old.stride,  # type: ignore[arg-type]
        padding=old.padding,  # type: ignore[arg-type]
        bias=old.bias is not None,
    )
    parent, _, name = path.rpartition(".")
    setattr(body.get_submodule(parent), name, new)


def _sequence(module: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Yield the top-level modules with their paths, descending into containers."""
    for name, child in module.named_children():
        if isinstance(child, (nn.Sequential, nn.ModuleList)):
            yield from _sequence(child, f"{prefix}{name}.")
        else:
            yield prefix + name, child


def _is_skipped(module: nn.Module) -> bool:
    return isinstance(module, (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.Dropout))


def _last_before_reductions(activations: Activations) -> list[str]:
    """Return the paths of the last maps (B, C, H, W) before each reduction (cropping a border is none)."""
    layers: list[str] = []
    pixels = 0
    for path, (_, output) in activations.items():
        if isinstance(output, Tensor) and output.dim() == 4:
            before, pixels = pixels, math.prod(output.shape[2:])
            kept = layers[:-1] if pixels > MIN_KEPT_SHARE * before else layers
            layers = [*kept, path]
    return layers


FAMILY = Family(
    pattern="torchvision:NAME",
    examples=EXAMPLES,
    rule="NAME is one of torchvision.models.list_models(module=torchvision.models)",
    description=(
        "Any classifier of torchvision. The stages are the last maps before each reduction of their size (transformers "
        "have none); the embedding is the input of the last layer."
    ),
    paper="TorchVision maintainers and contributors, 2016, github.com/pytorch/vision",
    nearest_name=nearest_name,
    build=build,
    pretrained=PretrainedWeights(identify=identify_pretrained, check=check_pretrained, build=build_pretrained),
)
