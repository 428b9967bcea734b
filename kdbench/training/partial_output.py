"""What stands in an output for the parts that were not kept: nobody can compute with it by mistake."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NoReturn, final

import torch
from torch import Tensor

from kdbench.errors import MethodError

NO_EMBEDDING = (
    'the method says that it reads only the logits of its teacher (reads = "logits"), so nothing else was kept, but it '
    'reads the embedding; say reads = "embedding" in its class'
)
NO_MAPS = (
    'the method says that it reads no maps of its teacher (reads = "logits" or "embedding"), so none were kept, but it '
    'reads them; say reads = "maps" in its class'
)


@final
class UnkeptTensor(Tensor):
    """A tensor that raises MethodError whatever is done with it, but for what `Output` itself does."""

    @classmethod
    def __torch_function__(
        cls,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Leave it as it is in float32 and without a graph; refuse everything else."""
        if func in (Tensor.float, Tensor.detach):
            return args[0]
        raise MethodError(NO_EMBEDDING)


@final
class UnkeptMaps(tuple[Tensor, ...]):
    """Maps that raise MethodError when somebody counts, takes or goes through them."""

    __slots__ = ()

    def __iter__(self) -> Iterator[Tensor]:
        raise MethodError(NO_MAPS)

    def __getitem__(self, place: object) -> NoReturn:
        raise MethodError(NO_MAPS)

    def __len__(self) -> int:
        raise MethodError(NO_MAPS)


def unkept_tensor() -> UnkeptTensor:
    """In the place of an embedding."""
    return torch.empty(0).as_subclass(UnkeptTensor)
