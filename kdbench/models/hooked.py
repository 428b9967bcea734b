"""Networks of other libraries: hooks on their modules read the stages and the embedding during the forward pass."""

import copy
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, final

import torch
from torch import Tensor, nn

from kdbench.errors import NetworkError
from kdbench.models.family import ImageShape
from kdbench.training.network import Network, Output

Activations = dict[str, tuple[Tensor, Any]]  # by module path, in order of execution: its input and its output


@final
class HookedNetwork(Network):
    """A network of another library, `body`, that maps images (B, C, H, W) to logits (B, K).

    `layers` are the paths of the modules whose outputs, maps (B, C, H, W), are the stages. `classifiers` are the paths
    of the modules that compute the logits; their concatenated inputs are the embedding, which is read before a dropout
    layer that ends there. `preacts` is always empty.
    """

    def __init__(
        self,
        body: nn.Module,
        num_classes: int,
        image_shape: ImageShape,
        *,
        layers: Iterable[str],
        classifiers: Iterable[str],
    ) -> None:
        super().__init__(num_classes, image_shape)
        self.body = body
        self.layers = tuple(layers)
        self.classifiers = tuple(classifiers)
        self._readers = tuple(_reader(body, path, image_shape) for path in self.classifiers)
        for path in self._readers:
            if isinstance(module := body.get_submodule(path), nn.Dropout):
                module.inplace = False  # or it would overwrite the embedding

    def forward(self, images: Tensor) -> Output:
        """Return the `Output` for images (B, C, H, W)."""
        logits, activations = forward_with_hooks(self.body, {*self.layers, *self._readers}, images)
        embedding = torch.cat([_to_vector(activations[path][0]) for path in self._readers], dim=1)
        return Output(logits, tuple(activations[path][1] for path in self.layers), (), embedding)


def forward_with_hooks(body: nn.Module, paths: Iterable[str], images: Tensor) -> tuple[Tensor, Activations]:
    """Return the output of `body` for images (B, C, H, W), and the activations of the modules at `paths`."""
    activations: Activations = {}
    # permanent hooks would be shared with copies of the network, which would then write into the original's dictionary
    handles = [body.get_submodule(path).register_forward_hook(partial(_record, activations, path)) for path in paths]
    try:
        return body(images), activations
    finally:
        for handle in handles:
            handle.remove()


def dry_run(body: nn.Module, paths: Iterable[str], image_shape: ImageShape) -> Activations:
    """Return the activations of the modules at `paths` for two images on the meta device.

    Raises:
        TypeError: `body` does not return a tensor.
    """
    dry = copy.deepcopy(body).to("meta").eval()
    with torch.no_grad(), torch.device("meta"):
        logits, activations = forward_with_hooks(dry, paths, torch.empty(2, *image_shape))
    if not isinstance(logits, Tensor):
        raise TypeError(f"it must return logits, got {type(logits).__name__}")
    return activations


def _reader(body: nn.Module, classifier: str, image_shape: ImageShape) -> str:
    """Return the path of the module whose input is the embedding: the classifier, or the dropout that ends there."""
    dropouts = [path for path, module in body.named_modules() if isinstance(module, nn.Dropout)]
    activations = dry_run(body, [*dropouts, classifier], image_shape) if dropouts else {}
    ends = [
        path for path in dropouts if path in activations and _is_same(activations[path][1], activations[classifier][0])
    ]
    return ends[-1] if ends else classifier


def _is_same(output: Tensor, features: Tensor) -> bool:
    """Return whether the input of the classifier is the output of a module, perhaps flattened."""
    return (output if output._base is None else output._base) is (
        features if features._base is None else features._base
    )


def build_or_raise(name: str, image_shape: ImageShape, make: Callable[[], HookedNetwork]) -> HookedNetwork:
    """Return `make()`, and turn any exception into a `NetworkError`.

    Raises:
        NetworkError: the library cannot build the network, or cannot run it on images of this shape.
    """
    try:
        return make()
    except Exception as error:  # libraries raise various exceptions for a size that does not fit
        raise NetworkError(
            f"network '{name}' cannot be built for images (C, H, W) of {image_shape}: {str(error) or repr(error)}; "
            "resize the images or use another network"
        ) from error


def _record(activations: Activations, path: str, module: nn.Module, inputs: tuple[Tensor, ...], output: object) -> None:
    activations[path] = inputs[0], output


def _to_vector(features: Tensor) -> Tensor:
    """Average tokens (B, N, D) or maps (B, D, H, W) to (B, D)."""
    if features.dim() == 3:
        return features.mean(dim=1)
    return features.mean(dim=(2, 3)) if features.dim() == 4 else features
