"""Every architecture of timm, as `timm:NAME`; timm is imported when such a name is used."""

from difflib import get_close_matches
from typing import Any

from torch import Tensor, nn

from kdbench.errors import NetworkError
from kdbench.models.hooked import HookedNetwork, build_or_raise, dry_run

PREFIX = "timm:"
PATTERN = "timm:NAME"
EXAMPLES = ("timm:resnet18", "timm:convnext_atto", "timm:efficientnet_b0", "timm:vit_tiny_patch16_224")
RULE = "NAME is one of timm.list_models(), without the tag of its weights"
DESCRIPTION = (
    "any architecture of timm; its stages are those of timm's feature information where they are maps (a "
    "transformer has none), its embedding is what timm's classifier sees"
)
PAPER = "Wightman, PyTorch Image Models, 2019, doi:10.5281/zenodo.4414861"


def nearest_name(name: str) -> str | None:
    """The valid name nearest to `name`; None where `name` is no `timm:...`."""
    if not name.startswith(PREFIX):
        return None
    import timm

    bare = name.removeprefix(PREFIX)
    if timm.is_model(bare) and "." not in bare:
        return name
    return PREFIX + get_close_matches(bare.split(".")[0], timm.list_models(), n=1, cutoff=0)[0]


def build(name: str, num_classes: int, image_shape: tuple[int, int, int]) -> HookedNetwork:
    """The network of a valid name, initialized by timm.

    Raises:
        NetworkError: timm cannot make it for images of this shape.
    """
    return build_or_raise(
        name, image_shape, lambda: _hooked(_body(name, num_classes, image_shape), num_classes, image_shape)
    )


def pretrained(name: str) -> tuple[str, int]:
    """What identifies timm's default weights of a valid name, and their number of classes.

    Raises:
        NetworkError: timm has none.
    """
    import timm

    usual = timm.get_pretrained_cfg(name.removeprefix(PREFIX))
    if usual is None or not usual.has_weights:
        raise NetworkError(f"network '{name}': timm has no pretrained weights for it; remove 'pretrained'")
    places = (usual.hf_hub_id, usual.hf_hub_filename) if usual.hf_hub_id else (usual.url or usual.file,)
    return "/".join(str(place) for place in places if place), usual.num_classes


def build_pretrained(name: str, num_classes: int, image_shape: tuple[int, int, int]) -> HookedNetwork:
    """The network of a valid name with timm's default weights, which timm adapts to the images.

    A classifier for another number of classes starts afresh.

    Raises:
        NetworkError: the weights are not there and cannot be downloaded, or timm cannot adapt them.
    """
    from huggingface_hub import constants

    try:
        body = _body(name, num_classes, image_shape, pretrained=True)
    except Exception as error:  # what a download may raise is anything
        raise NetworkError(
            f"network '{name}': its pretrained weights cannot be had: {error}; copy those of '{pretrained(name)[0]}' "
            f"from the cache of a machine with internet into {constants.HF_HUB_CACHE}, say `kdbench retry --failed`, "
            "and run the matrix again"
        ) from error
    return build_or_raise(name, image_shape, lambda: _hooked(body, num_classes, image_shape))


def _body(name: str, num_classes: int, image_shape: tuple[int, int, int], pretrained: bool = False) -> nn.Module:
    import timm

    architecture = name.removeprefix(PREFIX)

    channels, *size = image_shape
    options: dict[str, Any] = {"num_classes": num_classes, "in_chans": channels}
    usual = timm.get_pretrained_cfg(architecture)
    if usual is not None and usual.fixed_input_size and list(usual.input_size[1:]) != size:
        options["img_size"] = tuple(size)
    body: nn.Module = timm.create_model(architecture, pretrained=pretrained, **options)
    return body


def _hooked(body: nn.Module, num_classes: int, image_shape: tuple[int, int, int]) -> HookedNetwork:
    known = {path for path, _ in body.named_modules()}
    widths = {stage["module"]: stage["num_chs"] for stage in _features(body) if stage["module"] in known}
    heard = dry_run(body, widths, image_shape)
    maps = [path for path, width in widths.items() if path in heard and _is_map(heard[path][1], width)]
    layers = maps if len(maps) == len(widths) else []
    return HookedNetwork(body, num_classes, image_shape, layers=layers, classifiers=_classifiers(body))


def _features(body: nn.Module) -> list[dict[str, Any]]:
    """timm's feature information: a stage's path and number of channels, shallow to deep."""
    return [dict(stage) for stage in getattr(body, "feature_info", None) or []]


def _is_map(output: object, width: int) -> bool:
    """Whether it is (B, C, H, W); tokens are (B, N, C), and some transformers give (B, H, W, C)."""
    return isinstance(output, Tensor) and output.dim() == 4 and output.shape[1] == width


def _classifiers(body: nn.Module) -> list[str]:
    """The paths of timm's classifiers: one, or for a network with several heads all of them."""
    found: Any = body.get_classifier()  # type: ignore[operator]
    several = isinstance(found, (tuple, list, nn.ModuleList))
    heads = {id(head) for head in (found if several else [found])}
    return [path for path, module in body.named_modules() if id(module) in heads]
