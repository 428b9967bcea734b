"""The contract of a network: `Output` for images, and `Shapes` before training; frozen networks."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, TypeVar, final

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from kdbench.errors import NetworkError
from kdbench.training.billing import Bills
from kdbench.training.dry_run import run_dry
from kdbench.training.partial_output import MissingField
from kdbench.training.stopwatch import Stopwatch


@final
@dataclass(frozen=True, eq=False)
class Output:
    """The output of a network.

    The stages of wide residual networks are sums before the normalization and the activation, and `preacts` the same
    maps normalized: what the published code of these networks compares.
    """

    logits: Tensor  # (B, K)
    stages: tuple[Tensor, ...]  # (B, C_l, H_l, W_l), shallow to deep, after the activation; an MLP gives (B, C, 1, 1)
    preacts: tuple[Tensor, ...]  # the same before the activation; may be empty
    embedding: Tensor  # (B, D), the input of the classifier

    def float(self, maps: bool = True) -> "Output":
        """Return the output in float32, in which losses are computed; without `maps`, stages and preacts stay as is."""
        return self._each(Tensor.float, maps)

    def detach(self) -> "Output":
        """Return the output without its autograd graph."""
        return self._each(Tensor.detach)

    def _each(self, change: Callable[[Tensor], Tensor], maps: bool = True) -> "Output":
        def each(tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            return tuple(map(change, tensors)) if maps and not isinstance(tensors, MissingField) else tensors

        embedding = self.embedding if isinstance(self.embedding, MissingField) else change(self.embedding)
        return Output(change(self.logits), each(self.stages), each(self.preacts), embedding)


@final
@dataclass(frozen=True)
class Shapes:
    """The shapes of a network's output per image."""

    stages: tuple[tuple[int, int, int], ...]  # (C, H, W) of each
    embedding: int
    num_classes: int
    preacts: bool = False  # whether it returns its maps before the activation
    cuttable: bool = False  # whether it has the attributes stem, stages and head


N = TypeVar("N", bound=nn.Module)


def to_device(network: N, device: torch.device) -> N:
    """Move a network to a device, with its convolutions in channels-last layout, in which they are fastest."""
    return network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


class Network(nn.Module, ABC):
    """A classifier of `num_classes` classes for images of one shape (C, H, W)."""

    def __init__(self, num_classes: int, image_shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.image_shape = image_shape

    @abstractmethod
    def forward(self, images: Tensor) -> Output:
        """Return the `Output` for images (B, C, H, W)."""


def shapes(network: nn.Module) -> Shapes:
    """Return the shapes of a network's output, by a forward pass without its weights.

    Raises:
        NetworkError: the network has no attribute `image_shape`, does not return an `Output`, or returns a stage that
            is not (B, C, H, W).
    """
    shape = getattr(network, "image_shape", None)
    if shape is None:
        raise NetworkError(
            f"{type(network).__name__} has no attribute 'image_shape' (C, H, W); build it with "
            "kdbench.models.build, subclass kdbench.Network, or set the attribute"
        )
    output = run_dry(network, shape)
    if not isinstance(output, Output):
        raise NetworkError(f"{type(network).__name__} must return a kdbench.Output, got {type(output).__name__}")
    for stage in output.stages:
        if stage.dim() != 4:
            raise NetworkError(
                f"{type(network).__name__} returns a stage of shape {tuple(stage.shape)}; a stage is (B, C, H, W), "
                "or (B, C, 1, 1) if it has no height and width"
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
    """A network that never trains and caches its outputs for the current batch.

    It stays in eval mode even after `.train()`. Gradients pass through it to its input. If the input needs no gradient,
    the output is computed without a graph and cached, for the last `views` inputs, until `clear_cache` is called. A
    cached output is returned only for the same tensor, and only if neither the input nor the output has been modified
    in place since. A deep copy starts with an empty cache.

    Args:
        network: the trained network; its parameters no longer require gradients.
        views: the number of inputs whose outputs are cached.
    """

    def __init__(self, network: nn.Module, views: int = 4) -> None:
        super().__init__()
        self.network = network
        self.requires_grad_(False)
        self._views = views
        self._cached: list[CachedOutput] = []
        self._bills: Bills | None = None
        self._static_readers: set[str] = set()  # runs that have read an output stored by `cache`
        self.eval()

    @classmethod
    def of(cls, network: nn.Module) -> "Frozen":
        """Return the network frozen; one that is frozen already is returned itself."""
        return network if isinstance(network, Frozen) else cls(network)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """The image shape (C, H, W) of the network inside."""
        shape: tuple[int, int, int] = self.network.image_shape  # type: ignore[assignment]
        return shape

    def train(self, mode: bool = True) -> "Frozen":
        """Stay in eval mode, whatever `mode` is."""
        super().train(False)
        return self

    def forward(self, images: Tensor) -> Output:
        """Return the network's `Output` for images (B, C, H, W)."""
        if images.requires_grad:
            output: Output = self.network(images)
            return output
        autocast = _is_autocast_enabled(images)
        for cached in self._cached:
            if cached.is_valid_for(images, autocast):
                self._bill(cached)
                return cached.output
        cost = Stopwatch(images.device)
        with torch.no_grad(), cost.running() if self._is_measured(images) else nullcontext():
            output = self.network(images)
        computed = CachedOutput(images, output, autocast, cost=cost)
        computed.payers = {self._bills.reader} if self._bills else set()  # the time is part of the step that runs
        self._cached = [*self._cached, computed][-self._views :]
        return computed.output

    def cache(self, images: Tensor, output: Output) -> None:
        """Cache an output for these images under the current autocast mode, in tensors that outlive the batch."""
        self._store(images, output, is_static=True)

    def cache_partial(self, images: Tensor, logits: Tensor, embedding: Tensor | None = None) -> None:
        """Cache logits (B, K), and optionally embeddings (B, D), for these images under the current autocast mode.

        The other fields of the output raise `MethodError` when used.
        """
        missing: dict[str, Any] = {
            name: MissingField(name, reads)
            for name, reads in (("stages", "maps"), ("preacts", "maps"), ("embedding", "embedding"))
        }
        known = missing if embedding is None else {**missing, "embedding": embedding}
        self._store(images, Output(logits=logits, **known), is_static=False)

    def bill_to(self, bills: Bills) -> None:
        """Bill cached outputs to the runs that read them."""
        self._bills = bills
        self._static_readers.clear()

    def set_cost(self, images: Tensor, cost: Stopwatch) -> None:
        """Set what each run that reads the outputs cached for these images is billed."""
        for cached in self._cached:
            if cached.images is images:
                cached.cost = cost

    def bill_replay(self) -> None:
        """Bill the run whose captured step runs, which reads the output that was cached at its capture."""
        if self._bills and self._bills.reader in self._static_readers:
            for cached in self._cached:
                if cached.is_static:
                    self._bill(cached)

    def _bill(self, cached: "CachedOutput") -> None:
        if self._bills is None or self._bills.reader is None:
            return
        if cached.is_static:
            self._static_readers.add(self._bills.reader)
        if self._bills.reader not in cached.payers:
            cached.payers.add(self._bills.reader)
            self._bills.add(cached.cost)

    def _is_measured(self, images: Tensor) -> bool:
        """Return whether the time of a forward pass is measured; events cannot be timed while a graph is captured."""
        return self._bills is not None and not (images.is_cuda and torch.cuda.is_current_stream_capturing())

    def clear_cache(self) -> None:
        """Drop all cached outputs. The training loop does this before each batch."""
        self._cached.clear()

    @contextmanager
    def static_only(self) -> Iterator[None]:
        """Use only outputs stored by `cache`; outputs that are computed inside are dropped at the end."""
        before = self._cached
        self._cached = [cached for cached in before if cached.is_static]
        try:
            yield
        finally:
            self._cached = before

    def _store(self, images: Tensor, output: Output, is_static: bool) -> None:
        autocast = _is_autocast_enabled(images)
        others = [cached for cached in self._cached if not cached.is_valid_for(images, autocast)]
        self._cached = [*others, CachedOutput(images, output, autocast, is_static)][-self._views :]

    def __deepcopy__(self, memo: dict[int, object]) -> "Frozen":
        return Frozen(copy.deepcopy(self.network, memo), self._views)


@final
class CachedOutput:
    """An output of a frozen network, valid until its input or one of its tensors is modified in place.

    Args:
        images: the input (B, C, H, W).
        output: the network's output for it.
        autocast: whether autocast was enabled.
        is_static: whether the output's tensors are reused for every batch, as CUDA graphs need it.
        cost: how long the computation took.
    """

    def __init__(
        self, images: Tensor, output: Output, autocast: bool, is_static: bool = False, cost: Stopwatch | None = None
    ) -> None:
        self.images = images
        self.output = output
        self.is_static = is_static
        self.cost = cost or Stopwatch(images.device)
        self.payers: set[str | None] = set()  # the runs that have paid for it
        self._autocast = autocast
        self._versions = self._current_versions()

    def is_valid_for(self, images: Tensor, autocast: bool) -> bool:
        """Return whether this is the network's output for an input."""
        return self.images is images and self._autocast == autocast and self._versions == self._current_versions()

    def _current_versions(self) -> list[int]:
        """Return how many times each tensor has been modified in place."""
        output = self.output
        fields = (self.images, output.logits, output.embedding, output.stages, output.preacts)
        return [leaf._version for leaf in tree_leaves(fields) if not isinstance(leaf, MissingField)]


def _is_autocast_enabled(images: Tensor) -> bool:
    device = images.device.type
    return torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
