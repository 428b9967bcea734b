"""Every architecture of timm, as `timm:NAME`; timm is imported only if such a name is used."""

from difflib import get_close_matches
from typing import Any

from torch import Tensor, nn

from kdbench.errors import NetworkError
from kdbench.models.family import Family, ImageShape, PretrainedWeights
from kdbench.models.hooked import HookedNetwork, build_or_raise, dry_run

PREFIX = "timm:"
EXAMPLES = ("timm:resnet18", "timm:convnext_atto", "timm:efficientnet_b0", "timm:vit_tiny_patch16_224")


def nearest_name(name: str) -> str | None:
    """Return the valid name nearest to `name`, or None if it does not start with `timm:`."""
    if not name.startswith(PREFIX):
        return None
    import timm

    bare = name.removeprefix(PREFIX)
    if timm.is_model(bare) and "." not in bare:
        return name
    return PREFIX + get_close_matches(bare.split(".")[0], timm.list_models(), n=1, cutoff=0)[0]


def build(name: str, num_classes: int, image_shape: ImageShape) -> HookedNetwork:
    """Build the network of a valid name, initialized by timm, for images (C, H, W).

    Raises:
        NetworkError: timm cannot build it for images of this shape.
    """
    return build_or_raise(
        name, image_shape, lambda: _add_hooks(_body(name, num_classes, image_shape), num_classes, image_shape)
    )


def identify_pretrained(name: str) -> tuple[str, int]:
    """Return the address of timm's default weights for a valid name, and their number of classes.

    Raises:
        NetworkError: timm has no weights for it.
    """
    import timm

    config = timm.get_pretrained_cfg(name.removeprefix(PREFIX))
    if config is None or not config.has_weights:
        raise NetworkError(f"network '{name}': timm has no pretrained weights for it; remove 'pretrained'")
    parts = (config.hf_hub_id, config.hf_hub_filename) if config.hf_hub_id else (config.url or config.file,)
    return "/".join(str(part) for part in parts if part), config.num_classes


def build_pretrained(name: str, num_classes: int, image_shape: ImageShape) -> HookedNetwork:
    """Build the network of a valid name with timm's default weights, which timm adapts to the images (C, H, W).

    If the number of classes differs, the classifier is re-initialized.

    Raises:
        NetworkError: the weights cannot be downloaded, or timm cannot adapt them.
    """
    from huggingface_hub import constants

    try:
        body = _body(name, num_classes, image_shape, pretrained=True)
    except Exception as error:  # a download raises various exceptions
        source = identify_pretrained(name)[0]
        raise NetworkError(
            f"network '{name}': its pretrained weights '{source}' cannot be downloaded: {error}; copy them from the "
            f"same cache of a machine with internet access into {constants.HF_HUB_CACHE}, run `kdbench retry`, then "
            "run the matrix again"
        ) from error
    return build_or_raise(name, image_shape, lambda: _add_hooks(body, num_classes, image_shape))


def _body(name: str, num_classes: int, image_shape: ImageShape, pretrained: bool = False) -> nn.Module:
    import timm

    architecture = name.removeprefix(PREFIX)
    channels, *size = image_shape
    options: dict[str, Any] = {"num_classes": num_classes, "in_chans": channels}
    config = timm.get_pretrained_cfg(architecture)
    if config is not None and config.fixed_input_size and list(config.input_size[1:]) != size:
        options["img_size"] = tuple(size)
    body: nn.Module = timm.create_model(architecture, pretrained=pretrained, **options)
    return body


def _add_hooks(body: nn.Module, num_classes: int, image_shape: ImageShape) -> HookedNetwork:
    modules = {path for path, _ in body.named_modules()}
    widths = {stage["module"]: stage["num_chs"] for stage in _feature_info(body) if stage["module"] in modules}
    activations = dry_run(body, widths, image_shape)
    maps = [path for path, width in widths.items() if path in activations and _is_map(activations[path][1], width)]
    layers = maps if len(maps) == len(widths) else []
    return HookedNetwork(body, num_classes, image_shape, layers=layers, classifiers=_classifiers(body))


def _feature_info(body: nn.Module) -> list[dict[str, Any]]:
    """Return timm's feature information: the path and the number of channels of each stage, shallow to deep."""
    return [dict(stage) for stage in getattr(body, "feature_info", None) or []]


def _is_map(output: object, width: int) -> bool:
    """Return whether `output` is (B, C, H, W); tokens are (B, N, C), and some transformers return (B, H, W, C)."""
    return isinstance(output, Tensor) and output.dim() == 4 and output.shape[1] == width


def _classifiers(body: nn.Module) -> list[str]:
    """Return the paths of all of timm's classifiers: usually one, several for a network with several heads."""
    found: Any = body.get_classifier()  # type: ignore[operator]
    is_list = isinstance(found, (tuple, list, nn.ModuleList))
    heads = {id(head) for head in (found if is_list else [found])}
    return [path for path, module in body.named_modules() if id(module) in heads]


FAMILY = Family(
    pattern="timm:NAME",
    examples=EXAMPLES,
    rule="NAME is one of timm.list_models(), without the tag of its weights",
    description=(
        "Any architecture of timm. The stages are those of timm's feature information if they are maps (transformers "
        "have none); the embedding is the input of timm's classifier."
    ),
    paper="Wightman, PyTorch Image Models, 2019, doi:10.5281/zenodo.4414861",
    nearest_name=nearest_name,
    build=build,
    pretrained=PretrainedWeights(identify=identify_pretrained, build=build_pretrained),
)
