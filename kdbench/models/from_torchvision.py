"""Every classifier of torchvision, as `torchvision:NAME`; torchvision is imported when such a name is used."""

import math
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kdbench.errors import NetworkError
from kdbench.models.hooked import Activations, HookedNetwork, build_or_raise, dry_run

PREFIX = "torchvision:"
PATTERN = "torchvision:NAME"
EXAMPLES = ("torchvision:resnet18", "torchvision:mobilenet_v3_small", "torchvision:vgg11_bn", "torchvision:vit_b_16")
RULE = "NAME is one of torchvision.models.list_models(module=torchvision.models)"
DESCRIPTION = (
    "any classifier of torchvision; its stages are the last maps before each reduction of "
    "their size (a transformer has none), its embedding is what its last layer sees"
)
PAPER = "TorchVision maintainers and contributors, 2016, github.com/pytorch/vision"

TRANSFORMERS = ("vit_", "swin_")
KEPT = 0.75  # the share of its pixels above which a map has not been reduced
SIZED = ("vit_", "maxvit")  # their weights are for images of one size
AUXILIARY = ("googlenet", "inception_v3")  # they have further classifiers, which kdbench does not train


def nearest_name(name: str) -> str | None:
    """The valid name nearest to `name`; None where `name` is no `torchvision:...`."""
    if not name.startswith(PREFIX):
        return None
    from torchvision import models

    bare, valid = name.removeprefix(PREFIX), models.list_models(module=models)
    return name if bare in valid else PREFIX + get_close_matches(bare, valid, n=1, cutoff=0)[0]


def build(name: str, num_classes: int, image_shape: tuple[int, int, int]) -> HookedNetwork:
    """The network of a valid name, initialized by torchvision.

    Where images have not three channels the first convolution is a new one, with torch's own initialization.

    Raises:
        NetworkError: torchvision cannot make it for images of this shape.
    """
    return build_or_raise(name, image_shape, lambda: _build(name.removeprefix(PREFIX), num_classes, image_shape))


def pretrained(name: str) -> tuple[str, int]:
    """What identifies torchvision's default weights of a valid name, their address, and their number of classes.

    Raises:
        NetworkError: kdbench cannot use them.
    """
    from torchvision import models

    if name.removeprefix(PREFIX) in AUXILIARY:
        raise NetworkError(
            f"network '{name}': its pretrained weights are those of a network with further classifiers, which kdbench "
            "does not train; take another architecture, or timm's"
        )
    weights = models.get_model_weights(name.removeprefix(PREFIX)).DEFAULT
    return weights.url, len(weights.meta["categories"])


def check_pretrained(name: str, image_shape: tuple[int, int, int]) -> None:
    """Whether torchvision's default weights are for images of this shape.

    Raises:
        NetworkError: they are not.
    """
    from torchvision import models

    architecture = name.removeprefix(PREFIX)
    if image_shape[0] != 3:
        raise NetworkError(
            f"network '{name}': torchvision's pretrained weights take images of 3 channels, got {image_shape[0]}; "
            "take 'timm:' (it adapts its weights), or images in color"
        )
    size = tuple(models.get_model_weights(architecture).DEFAULT.meta["min_size"])
    if architecture.startswith(SIZED) and image_shape[1:] != size:
        raise NetworkError(
            f"network '{name}': torchvision's pretrained weights take images (H, W) of {size}, got {image_shape[1:]}; "
            "resize the images, or take another network"
        )


def build_pretrained(name: str, num_classes: int, image_shape: tuple[int, int, int]) -> HookedNetwork:
    """The network of a valid name with torchvision's default weights.

    A classifier for another number of classes starts afresh.

    Raises:
        NetworkError: the weights are for other images, or are not there and cannot be downloaded.
    """
    check_pretrained(name, image_shape)
    network = build(name, num_classes, image_shape)
    state = network.state_dict()
    (classifier,) = network.classifiers
    for key, value in _weights(name).items():
        if not key.startswith(f"{classifier}.") or value.shape == state[f"body.{key}"].shape:
            state[f"body.{key}"] = value
    network.load_state_dict(state)
    return network


def _weights(name: str) -> dict[str, Tensor]:
    from torchvision import models

    architecture = name.removeprefix(PREFIX)
    weights = models.get_model_weights(architecture).DEFAULT
    try:
        weights.get_state_dict(progress=False, check_hash=True, weights_only=True)  # a file that holds code fails here
        # torchvision's own function knows how the names in old files have changed
        trained: nn.Module = models.get_model(architecture, weights=weights, progress=False)
    except Exception as error:  # what a download may raise is anything
        file = weights.url.rpartition("/")[2]
        raise NetworkError(
            f"network '{name}': its pretrained weights cannot be had: {error}; put the file {file} into "
            f"{Path(torch.hub.get_dir()) / 'checkpoints'}, say `kdbench retry --failed`, and run the matrix again"
        ) from error
    return trained.state_dict()


def _build(architecture: str, num_classes: int, image_shape: tuple[int, int, int]) -> HookedNetwork:
    from torchvision import models

    options = _options(architecture, image_shape)
    device = torch.get_default_device()
    # regnets compute their widths with tensors, which the meta device cannot
    with torch.device("cpu" if architecture.startswith("regnet") else device):
        body = models.get_model(architecture, weights=None, num_classes=num_classes, **options).to(device)
    if image_shape[0] != 3:
        _take(body, image_shape[0])
    classifier = [path for path, module in body.named_modules() if isinstance(module, (nn.Linear, nn.Conv2d))][-1]
    end = classifier.split(".")[0]
    chain = [path for path, module in _chain(body) if path.split(".")[0] != end and not _is_passed_over(module)]
    heard = dry_run(body, chain, image_shape)
    layers = [] if architecture.startswith(TRANSFORMERS) else _last_before_reductions(heard)
    return HookedNetwork(body, num_classes, image_shape, layers=layers, classifiers=[classifier])


def _options(architecture: str, image_shape: tuple[int, int, int]) -> dict[str, Any]:
    _, height, width = image_shape
    if architecture in AUXILIARY:
        return {"aux_logits": False, "init_weights": True}
    if architecture.startswith("vit_"):
        if height != width:
            raise ValueError("its images are square")
        return {"image_size": height}
    return {"input_size": (height, width)} if architecture.startswith("maxvit") else {}


def _take(body: nn.Module, channels: int) -> None:
    """Replace the first convolution by one for images of so many channels."""
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


def _chain(module: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """The modules that run one after the other, containers opened, with their paths."""
    for name, child in module.named_children():
        if isinstance(child, (nn.Sequential, nn.ModuleList)):
            yield from _chain(child, f"{prefix}{name}.")
        else:
            yield prefix + name, child


def _is_passed_over(module: nn.Module) -> bool:
    return isinstance(module, (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.Dropout))


def _last_before_reductions(heard: Activations) -> list[str]:
    """The paths of the last maps (B, C, H, W) before each reduction; a border lost to a convolution is none."""
    layers: list[str] = []
    pixels = 0
    for path, (_, made) in heard.items():
        if isinstance(made, Tensor) and made.dim() == 4:
            before, pixels = pixels, math.prod(made.shape[2:])
            kept = layers[:-1] if pixels > KEPT * before else layers
            layers = [*kept, path]
    return layers
