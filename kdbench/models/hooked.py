"""Networks of other libraries, whose stages and embedding are read off their modules as they run."""

import copy
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, final

import torch
from torch import Tensor, nn

from kdbench.errors import NetworkError
from kdbench.training.network import Network, Output

Activations = dict[
    str, tuple[Tensor, Any]
]  # what went into a module, and what came out; in the order in which they ended


@final
class HookedNetwork(Network):
    """A `body` that makes logits (B, K) from images (B, C, H, W).

    `layers` are the paths of the modules that give the stages, maps (B, C, H, W). `classifiers` are those of the modules
    that give the logits: what goes into them, side by side, is the embedding. There are no maps before an activation.
    """

    def __init__(
        self,
        body: nn.Module,
        num_classes: int,
        image_shape: tuple[int, int, int],
        *,
        layers: Iterable[str],
        classifiers: Iterable[str],
    ) -> None:
        super().__init__(num_classes, image_shape)
        self.body = body
        self.layers = tuple(layers)
        self.classifiers = tuple(classifiers)

    def forward(self, images: Tensor) -> Output:
        """Images (B, C, H, W) to `Output`."""
        logits, heard = forward_with_hooks(self.body, {*self.layers, *self.classifiers}, images)
        embedding = torch.cat([_vector(heard[path][0]) for path in self.classifiers], dim=1)
        return Output(logits, tuple(heard[path][1] for path in self.layers), (), embedding)


def forward_with_hooks(body: nn.Module, paths: Iterable[str], images: Tensor) -> tuple[Tensor, Activations]:
    """What `body` makes of the images, and what the modules at `paths` are given and make on the way."""
    heard: Activations = {}
    # hooks that stayed would be shared with copies of the network, and would write into what the original hears
    handles = [body.get_submodule(path).register_forward_hook(partial(_note, heard, path)) for path in paths]
    try:
        return body(images), heard
    finally:
        for handle in handles:
            handle.remove()


def dry_run(body: nn.Module, paths: Iterable[str], image_shape: tuple[int, int, int]) -> Activations:
    """What the modules at `paths` hear and say of two images, on the meta device."""
    dry = copy.deepcopy(body).to("meta").eval()
    with torch.no_grad(), torch.device("meta"):
        logits, heard = forward_with_hooks(dry, paths, torch.empty(2, *image_shape))
    if not isinstance(logits, Tensor):
        raise TypeError(f"it gives {type(logits).__name__}, not logits")
    return heard


def build_or_raise(name: str, image_shape: tuple[int, int, int], make: Callable[[], HookedNetwork]) -> HookedNetwork:
    """What `make` gives.

    Raises:
        NetworkError: the library cannot make the network, or run it on images of this shape.
    """
    try:
        return make()
    except Exception as error:  # what a library raises for a size that does not fit may be anything
        raise NetworkError(
            f"network '{name}' cannot be built for images (C, H, W) of {image_shape}: {str(error) or repr(error)}; "
            "resize the images or take another network"
        ) from error


def _note(heard: Activations, path: str, module: nn.Module, given: tuple[Tensor, ...], made: object) -> None:
    heard[path] = given[0], made


def _vector(features: Tensor) -> Tensor:
    """Tokens (B, N, D) and maps (B, D, H, W) to their means (B, D)."""
    if features.dim() == 3:
        return features.mean(dim=1)
    return features.mean(dim=(2, 3)) if features.dim() == 4 else features
