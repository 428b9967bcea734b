"""Count the operations of a forward pass."""

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, final

from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, flop_registry


def make_flop_counter() -> "FlopCounter | FlopCounterMode":
    """Return torch's counter, or its equal for processes that have not imported torch's compiler."""
    return FlopCounterMode(display=False) if "torch._dynamo" in sys.modules else FlopCounter()


@final
class FlopCounter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts as `FlopCounterMode`, which imports torch's compiler; for networks without higher-order operators.

    Higher-order operators exist only after that import.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._total = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # or torch imports the compiler, to disable it in here

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Count an operator; one that has no formula counts as what it consists of."""
        operator, options = func._overloadpacket, kwargs or {}
        formula: Callable[..., int] | None = flop_registry.get(operator)
        if formula is None:
            with self:
                result = func.decompose(*args, **options)
            return func(*args, **options) if result is NotImplemented else result
        result = func(*args, **options)
        self._total += formula(*args, **options, out_val=result)
        return result

    def get_total_flops(self) -> int:
        """Return the operations since the start; a multiply-add counts as two."""
        return self._total
