"""Build networks by name, or with a user's factory, and load the weights that their training starts from."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from torch import nn

import kdbench.models
from kdbench import source_code
from kdbench.custom_code import import_object
from kdbench.errors import KdbenchError, NetworkError, did_you_mean
from kdbench.matrix.spec import NetworkSpec
from kdbench.models import weights
from kdbench.models.family import Family, ImageShape, PretrainedWeights
from kdbench.training.method import Task
from kdbench.training.network import shapes


def build(
    name: str,
    *,
    num_classes: int,
    image_shape: ImageShape,
    factory: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> nn.Module:
    """Build a network with random weights for images (C, H, W).

    Without `factory`, `name` is an architecture of one of the `FAMILIES`. With `factory`, "package.module:callable",
    `name` is a label, and the callable is called with `num_classes`, `image_shape` and `options` by keyword.

    Raises:
        NetworkError: the name is unknown, or the factory does not return a module that returns `Output`.
    """
    shape = _checked_shape(name, image_shape)
    if factory is not None:
        return _build_with_factory(name, factory, num_classes, shape, options or {})
    if options:
        raise NetworkError(f"network '{name}': only a network with a factory takes options, got {', '.join(options)}")
    return _find_family(name).build(name, num_classes, shape)


def build_from_spec(spec: NetworkSpec, task: Task) -> nn.Module:
    """Build the network of a run for its task, with random weights.

    Raises:
        NetworkError: as `build`.
    """
    return build(
        spec.name if spec.factory else spec.known_as,
        num_classes=task.num_classes,
        image_shape=task.image_shape,
        factory=spec.factory,
        options=spec.options,
    )


def build_with_weights(spec: NetworkSpec, task: Task) -> nn.Module:
    """Build the network of a run for its task, with the weights that its training starts from.

    Raises:
        NetworkError: as `build`; or the weights are missing, have changed, or do not fit.
    """
    if spec.pretrained:
        return _pretrained(spec).build(spec.known_as, task.num_classes, task.image_shape)
    network = build_from_spec(spec, task)
    if spec.weights is not None:
        weights.load(spec.weights, spec.start, network)
    return network


def resolve_weights(spec: NetworkSpec) -> NetworkSpec:
    """Return the spec with the absolute path and the identity of the weights that it starts from; download nothing.

    Raises:
        NetworkError: the weights are missing or corrupted.
    """
    if spec.pretrained:
        return replace(spec, start=_pretrained(spec).identify(spec.known_as)[0])
    if spec.weights is not None:
        path = weights.absolute_path(spec.weights)
        return replace(spec, weights=path, start=weights.compute_digest(path))
    return spec


def check_weights(spec: NetworkSpec, network: nn.Module, task: Task, is_trained: bool) -> None:
    """Check that the weights of `spec` fit `network` and its task and, unless `is_trained`, are complete.

    Raises:
        NetworkError: they do not fit, or an untrained network would have a random classifier.
    """
    if spec.weights is not None:
        weights.check(spec.weights, network)
    if not spec.pretrained:
        return
    pretrained = _pretrained(spec)
    if pretrained.check is not None:
        pretrained.check(spec.known_as, task.image_shape)
    classes = pretrained.identify(spec.known_as)[1]
    if not is_trained and classes != task.num_classes:
        raise NetworkError(
            f"network '{spec.name}': its pretrained weights have {classes} classes and the data {task.num_classes}, "
            "so its classifier is re-initialized and must be trained; set epochs to 1 or more"
        )


def check(name: str, image_shape: ImageShape) -> None:
    """Check that `build` accepts a name and an image shape (C, H, W), without building anything.

    Raises:
        NetworkError: the name is unknown (with the nearest valid one), or the shape is invalid.
    """
    _find_family(name)
    _checked_shape(name, image_shape)


def source_hash(factory: str) -> str:
    """Return the hash of the source of "package.module:callable", as `source_code.source_hash`.

    Raises:
        NetworkError: the callable does not exist, or has no source file.
    """
    make = inspect.unwrap(_import_factory(factory))
    defined = [make.__module__] if inspect.isroutine(make) or inspect.isclass(make) else []
    try:
        return source_code.source_hash(factory.partition(":")[0], *defined)
    except (OSError, KdbenchError) as error:
        raise NetworkError(
            f"factory '{factory}' must be defined in a Python file: {error}; wrap it in a function"
        ) from None


def _pretrained(spec: NetworkSpec) -> PretrainedWeights:
    """Return the weights of the library that the architecture comes from."""
    found = None if spec.factory else _find_family(spec.known_as).pretrained
    if found is None:
        raise NetworkError(
            f"network '{spec.name}': 'pretrained' must be false for '{spec.factory or spec.known_as}': only "
            "'timm:...' and 'torchvision:...' have pretrained weights; remove 'pretrained', or set 'weights'"
        )
    return found


def _find_family(name: str) -> Family:
    nearest = {family: family.nearest_name(name) for family in kdbench.models.FAMILIES}
    for family, valid in nearest.items():
        if valid == name:
            return family
    for family, valid in nearest.items():
        if valid is not None:
            raise NetworkError(f"unknown network '{name}': {family.pattern}: {family.rule}; did you mean '{valid}'?")
    hint = did_you_mean(name, [example for family in kdbench.models.FAMILIES for example in family.examples])
    raise NetworkError(f"unknown network '{name}' (a custom network needs a factory); {hint}")


def _checked_shape(name: str, shape: ImageShape) -> ImageShape:
    channels, height, width = shape
    if min(channels, height, width) < 1:
        raise NetworkError(f"network '{name}': image_shape (C, H, W) must be at least 1 each, got {tuple(shape)}")
    return channels, height, width


def _build_with_factory(
    name: str, factory: str, num_classes: int, shape: ImageShape, options: Mapping[str, Any]
) -> nn.Module:
    make, arguments = _import_factory(factory), {"num_classes": num_classes, "image_shape": shape, **options}
    try:
        inspect.signature(make).bind(**arguments)
    except TypeError as error:
        raise NetworkError(
            f"network '{name}': {factory} must accept the keyword arguments {', '.join(arguments)}: {error}"
        ) from None
    network = make(**arguments)
    if not isinstance(network, nn.Module):
        raise NetworkError(f"network '{name}': {factory} must return a torch.nn.Module, got {type(network).__name__}")
    if getattr(network, "image_shape", None) is None:
        network.image_shape = shape  # type: ignore[assignment]
    logits = shapes(network).num_classes
    if logits != num_classes:
        raise NetworkError(f"network '{name}': {factory} must return {num_classes} logits per image, got {logits}")
    return network


def _import_factory(factory: str) -> Callable[..., object]:
    try:
        found = import_object(factory)
    except KdbenchError as error:
        raise NetworkError(f"factory '{factory}': {error}") from error
    if not callable(found):
        raise NetworkError(f"factory '{factory}' must be callable, got {type(found).__name__}")
    return found
