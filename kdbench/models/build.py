"""Networks by name, and the way in for a user's own."""

import hashlib
import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any, final

from torch import nn

from kdbench.errors import NetworkError, did_you_mean
from kdbench.matrix.spec import NetworkSpec
from kdbench.models import (
    cnn,
    cnn_pair,
    from_timm,
    from_torchvision,
    mlp,
    mobilenet_v2,
    resnet,
    resnet_cifar,
    shufflenet_v1,
    shufflenet_v2,
    vgg,
    weights,
    wide_resnet,
)
from kdbench.training.method import Task
from kdbench.training.network import shapes

ImageShape = tuple[int, int, int]


@final
@dataclass(frozen=True)
class Family:
    """The networks of one file: how they are named, what they are, and how one is made."""

    pattern: str  # of its names, for the reader
    examples: tuple[str, ...]
    rule: str  # that a name of this pattern keeps
    description: str
    paper: str
    nearest_name: Callable[[str], str | None]  # the valid name nearest to a name; None: not this family's pattern
    build: Callable[[str, int, ImageShape], nn.Module]  # by valid name, number of classes, image shape

    @property
    def example(self) -> str:
        """One name."""
        return self.examples[0]


def _family(file: ModuleType) -> Family:
    return Family(file.PATTERN, file.EXAMPLES, file.RULE, file.DESCRIPTION, file.PAPER, file.nearest_name, file.build)


FAMILIES: tuple[Family, ...] = (
    _family(mlp),
    _family(cnn_pair),
    _family(cnn),
    _family(resnet),
    _family(resnet_cifar),
    _family(wide_resnet),
    _family(vgg),
    _family(mobilenet_v2),
    _family(shufflenet_v1),
    _family(shufflenet_v2),
    _family(from_timm),
    _family(from_torchvision),
)


def build(
    name: str,
    *,
    num_classes: int,
    image_shape: ImageShape,
    factory: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> nn.Module:
    """A new network for images (C, H, W), with random weights.

    `name` is a known architecture; or the label of what `factory`, "package.module:callable", makes when called with
    `num_classes`, `image_shape` and `options`.

    Raises:
        NetworkError: the name is not known, or the factory does not give a module that returns `Output`.
    """
    shape = _image_shape(name, image_shape)
    if factory is not None:
        return _made(name, factory, num_classes, shape, options or {})
    if options:
        raise NetworkError(f"network '{name}': only a network with a factory takes options, got {', '.join(options)}")
    return _find(name).build(name, num_classes, shape)


def build_spec(spec: NetworkSpec, task: Task) -> nn.Module:
    """The new network that a run names, for its task, with random weights.

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


def start_spec(spec: NetworkSpec, task: Task) -> nn.Module:
    """The network that a run names, for its task, with the weights that its training starts from.

    Raises:
        NetworkError: as `build`; or the weights are not there, have changed, or do not fit.
    """
    if spec.pretrained:
        made: nn.Module = _library(spec).build_pretrained(spec.known_as, task.num_classes, task.image_shape)
        return made
    network = build_spec(spec, task)
    if spec.weights is not None:
        weights.load(spec.weights, spec.start, network)
    return network


def identified(spec: NetworkSpec) -> NetworkSpec:
    """The network with what identifies the weights that it starts from, and where they lie; downloads nothing.

    Raises:
        NetworkError: there are no such weights, or they are corrupted.
    """
    if spec.pretrained:
        return replace(spec, start=_library(spec).pretrained(spec.known_as)[0])
    if spec.weights is not None:
        place = weights.absolute(spec.weights)
        return replace(spec, weights=place, start=weights.content(place))
    return spec


def check_start(spec: NetworkSpec, network: nn.Module, task: Task, trains: bool) -> None:
    """Whether the weights that a network starts from fit its task; and, if it does not train, are complete.

    Raises:
        NetworkError: they do not.
    """
    if spec.weights is not None:
        weights.check(spec.weights, network)
    if not spec.pretrained:
        return
    library = _library(spec)
    if library is from_torchvision:
        from_torchvision.check_pretrained(spec.known_as, task.image_shape)
    classes = library.pretrained(spec.known_as)[1]
    if not trains and classes != task.num_classes:
        raise NetworkError(
            f"network '{spec.name}': its pretrained weights are for {classes} classes and the data have "
            f"{task.num_classes}, so its classifier is random: it must train; give it at least 1 epoch"
        )


def check(name: str, image_shape: ImageShape) -> None:
    """Whether `build` knows the name and can build it for images (C, H, W); builds nothing.

    Raises:
        NetworkError: with the nearest valid name.
    """
    _find(name)
    _image_shape(name, image_shape)


def catalog() -> tuple[Family, ...]:
    """All families, for a listing: `pattern`, `example`, `description`, `paper`."""
    return FAMILIES


def source_hash(factory: str) -> str:
    """Sixteen hexadecimal digits of the SHA-256 of the file that defines "package.module:callable".

    Raises:
        NetworkError: there is no such callable, or it has no source file.
    """
    make = inspect.unwrap(_imported(factory))
    owner = make if inspect.isroutine(make) or inspect.isclass(make) else type(make)
    try:
        file = Path(inspect.getfile(owner))
    except TypeError:
        raise NetworkError(f"factory '{factory}' must be defined in a Python file; wrap it in a function") from None
    return hashlib.sha256(file.read_bytes()).hexdigest()[:16]


def _library(spec: NetworkSpec) -> ModuleType:
    """The file of the library that has weights for a network."""
    for library in (from_timm, from_torchvision):
        if spec.factory is None and spec.known_as.startswith(library.PREFIX):
            return library
    raise NetworkError(
        f"network '{spec.name}': only an architecture 'timm:...' or 'torchvision:...' can be pretrained, got "
        f"'{spec.factory or spec.known_as}'; remove 'pretrained', or give 'weights'"
    )


def _find(name: str) -> Family:
    near = {family: family.nearest_name(name) for family in FAMILIES}
    for family, valid in near.items():
        if valid == name:
            return family
    for family, valid in near.items():
        if valid is not None:
            raise NetworkError(
                f"no network is called '{name}': {family.pattern}: {family.rule}; did you mean '{valid}'?"
            )
    remedy = did_you_mean(name, [example for family in FAMILIES for example in family.examples])
    raise NetworkError(f"no network is called '{name}' (one of your own needs a factory); {remedy}")


def _image_shape(name: str, shape: ImageShape) -> ImageShape:
    channels, height, width = shape
    if min(channels, height, width) < 1:
        raise NetworkError(f"network '{name}': image_shape is (C, H, W), each at least 1, got {tuple(shape)}")
    return channels, height, width


def _made(name: str, factory: str, num_classes: int, shape: ImageShape, options: Mapping[str, Any]) -> nn.Module:
    make, given = _imported(factory), {"num_classes": num_classes, "image_shape": shape, **options}
    try:
        inspect.signature(make).bind(**given)
    except TypeError as error:
        raise NetworkError(f"network '{name}': {factory} must take {', '.join(given)} by name: {error}") from None
    network = make(**given)
    if not isinstance(network, nn.Module):
        kind = type(network).__name__
        raise NetworkError(f"network '{name}': {factory} must give a torch.nn.Module, got {kind}")
    if getattr(network, "image_shape", None) is None:
        network.image_shape = shape  # type: ignore[assignment]
    logits = shapes(network).num_classes
    if logits != num_classes:
        raise NetworkError(f"network '{name}': {factory} must give {num_classes} logits, got {logits}")
    return network


def _imported(factory: str) -> Callable[..., object]:
    module, _, path = factory.partition(":")
    if not module or not path:
        raise NetworkError(f"a factory is written 'package.module:callable', got '{factory}'")
    try:
        found: object = importlib.import_module(module)
        for part in path.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise NetworkError(f"factory '{factory}' cannot be imported: {error}; is its folder on PYTHONPATH?") from error
    if not callable(found):
        raise NetworkError(f"factory '{factory}' must be callable, got {type(found).__name__}")
    return found
