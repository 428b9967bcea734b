"""What a network is to the harness: images in, `Output` out, and shapes known before anything is trained."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TypeVar, final

import torch
from torch import Tensor, nn

from kdbench.errors import NetworkError
from kdbench.training.partial_output import UnkeptMaps, UnkeptTensor, unkept_tensor


@final
@dataclass(frozen=True, eq=False)
class Output:
    """What every network returns."""

    logits: Tensor  # (B, K)
    stages: tuple[Tensor, ...]  # (B, C_l, H_l, W_l), shallow to deep, after the activation; an MLP gives (B, C, 1, 1)
    preacts: tuple[Tensor, ...]  # the same before the activation; may be empty
    embedding: Tensor  # (B, D), what the classifier sees

    def float(self, maps: bool = True) -> "Output":
        """The same in float32, in which losses are computed; without `maps`, stages and preacts as they are."""
        if maps:
            return self._each(Tensor.float)
        return replace(self, logits=self.logits.float(), embedding=self.embedding.float())

    def detach(self) -> "Output":
        """The same without a graph."""
        return self._each(Tensor.detach)

    def _each(self, change: Callable[[Tensor], Tensor]) -> "Output":
        stages, preacts = tuple(map(change, self.stages)), tuple(map(change, self.preacts))
        return Output(change(self.logits), stages, preacts, change(self.embedding))


@final
@dataclass(frozen=True)
class Shapes:
    """What a network yields per image, found by one dry run on the meta device."""

    stages: tuple[tuple[int, int, int], ...]  # (C, H, W) a stage
    embedding: int
    num_classes: int
    preacts: bool = False  # whether it exposes its maps before the activation
    cuttable: bool = False  # whether it can be cut into stem, stages and head


N = TypeVar("N", bound=nn.Module)


def to_device(network: N, device: torch.device) -> N:
    """The network on a device, its convolutions in the layout (channels last) in which they are fastest."""
    return network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


class Network(nn.Module, ABC):
    """A classifier of images of one shape."""

    def __init__(self, num_classes: int, image_shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.image_shape = image_shape

    @abstractmethod
    def forward(self, images: Tensor) -> Output:
        """Images (B, C, H, W) to `Output`."""


def shapes(network: nn.Module) -> Shapes:
    """The shapes of a network's output.

    Raises:
        NetworkError: the network does not say for which images it was built, does not return an `Output`, or gives a
            stage that is not (B, C, H, W).
    """
    shape = getattr(network, "image_shape", None)
    if shape is None:
        raise NetworkError(
            f"{type(network).__name__} has no attribute 'image_shape' (C, H, W); build it with "
            "kdbench.models.build, derive it from kdbench.Network, or set the attribute"
        )
    dry = copy.deepcopy(network).to("meta").eval()
    with torch.no_grad():
        output = dry(torch.empty(2, *shape, device="meta"))
    if not isinstance(output, Output):
        raise NetworkError(f"{type(network).__name__} must return a kdbench.Output, got {type(output).__name__}")
    for stage in output.stages:
        if stage.dim() != 4:
            raise NetworkError(
                f"{type(network).__name__} gives a stage of shape {tuple(stage.shape)}; a stage is (B, C, H, W), "
                "and (B, C, 1, 1) where there is no space"
            )
    return Shapes(
        stages=tuple((int(s.shape[1]), int(s.shape[2]), int(s.shape[3])) for s in output.stages),
        embedding=int(output.embedding.shape[1]),
        num_classes=int(output.logits.shape[1]),
        preacts=len(output.preacts) == len(output.stages) > 0,
        cuttable=all(hasattr(network, part) for part in ("stem", "stages", "head")),
    )


@final
class Frozen(nn.Module):
    """A network that never trains and remembers what it said of the present batch.

    It stays in eval mode even after `.train()`. Gradients pass through it to its input; where the input needs none,
    its output is made without a graph and kept, for the last `views` inputs, until `forget` is called. An input is
    known again only if it is the same tensor, and nobody has written into it or into what was said of it.
    """

    def __init__(self, network: nn.Module, views: int = 4) -> None:
        super().__init__()
        self.network = network
        self.requires_grad_(False)
        self._views = views
        self._memory: list[CachedOutput] = []
        self.eval()

    @classmethod
    def of(cls, network: nn.Module) -> "Frozen":
        """Return the network frozen; one that is frozen already is returned itself."""
        return network if isinstance(network, Frozen) else cls(network)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Of the network inside."""
        shape: tuple[int, int, int] = self.network.image_shape  # type: ignore[assignment]
        return shape

    def train(self, mode: bool = True) -> "Frozen":
        """Stay in eval mode, whatever `mode` says."""
        super().train(False)
        return self

    def clear_cache(self) -> None:
        """Drop all remembered outputs; the loop does so before each batch."""
        self._memory.clear()

    def forward(self, images: Tensor) -> Output:
        """The network's `Output` for images (B, C, H, W)."""
        if images.requires_grad:
            through: Output = self.network(images)
            return through
        autocast = _autocast(images)
        for known in self._memory:
            if known.is_for(images, autocast):
                return known.output
        with torch.no_grad():
            fresh = CachedOutput(images, self.network(images), autocast)
        self._memory = [*self._memory, fresh][-self._views :]
        return fresh.output

    def cache_partial(self, images: Tensor, logits: Tensor, embedding: Tensor | None = None) -> None:
        """Remember for these images, and the present autocast, nothing but logits (B, K) and perhaps embeddings (B, D).

        Whoever reads more of that answer gets a MethodError.
        """
        maps = UnkeptMaps()
        known = unkept_tensor() if embedding is None else embedding
        self._store(images, Output(logits, maps, maps, known), is_static=False)

    def cache(self, images: Tensor, output: Output) -> None:
        """Remember an output for these images, and the present autocast, in tensors that last beyond this batch."""
        self._store(images, output, is_static=True)

    @contextmanager
    def static_only(self) -> Iterator[None]:
        """Inside, it knows only what `remember` was told; what it says inside is forgotten."""
        before = self._memory
        self._memory = [known for known in before if known.is_static]
        try:
            yield
        finally:
            self._memory = before

    def _store(self, images: Tensor, output: Output, is_static: bool) -> None:
        autocast = _autocast(images)
        others = [known for known in self._memory if not known.is_for(images, autocast)]
        self._memory = [*others, CachedOutput(images, output, autocast, is_static)][-self._views :]

    def __deepcopy__(self, memo: dict[int, object]) -> "Frozen":
        return Frozen(copy.deepcopy(self.network, memo), self._views)


@final
class CachedOutput:
    """What a frozen network said of an input, as long as nobody writes into either."""

    def __init__(self, images: Tensor, output: Output, autocast: bool, is_static: bool = False) -> None:
        self.output = output
        self.is_static = is_static
        self._images, self._autocast = images, autocast
        self._versions = self._written()

    def is_for(self, images: Tensor, autocast: bool) -> bool:
        """Whether it answers this input."""
        return self._images is images and self._autocast == autocast and self._versions == self._written()

    def _written(self) -> list[int]:
        """How often each tensor has been written into."""
        said = self.output
        maps = () if isinstance(said.stages, UnkeptMaps) else (*said.stages, *said.preacts)
        embedding = () if isinstance(said.embedding, UnkeptTensor) else (said.embedding,)
        return [t._version for t in (self._images, said.logits, *embedding, *maps)]


def _autocast(images: Tensor) -> bool:
    device = images.device.type
    return torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
