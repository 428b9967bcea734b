"""A placeholder for the fields of an output that were not computed."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn, final

from torch.utils._pytree import tree_leaves

from kdbench.errors import MethodError


@final
class MissingField:
    """A field of a teacher's `Output` that the teacher cache does not hold.

    Any use of it, also as an argument of a torch function, raises `MethodError`.

    Args:
        field: the name of the field in `Output`.
        reads: the value of `reads` with which a method declares that it reads this field.
    """

    def __init__(self, field: str, reads: str) -> None:
        self._message = (
            f"the method reads the field '{field}' of its teacher's output, but its class declares that it reads less; "
            f'set reads = "{reads}" in the class'
        )

    def _raise(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise MethodError(self._message)

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], types: Sequence[type], args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> NoReturn:
        """Raise the error of the first missing field among the arguments."""
        next(leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, cls))._raise()

    __getattr__ = __call__ = __reduce_ex__ = __format__ = _raise
    __len__ = __iter__ = __getitem__ = __contains__ = __bool__ = __float__ = __int__ = _raise
    __add__ = __sub__ = __mul__ = __truediv__ = __pow__ = __matmul__ = _raise
    __radd__ = __rsub__ = __rmul__ = __rtruediv__ = __rpow__ = __rmatmul__ = _raise
    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = __neg__ = __abs__ = _raise
