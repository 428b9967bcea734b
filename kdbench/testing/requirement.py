"""Assertions with texts that state the rule."""

from collections.abc import Mapping

import torch
from torch import Tensor


def require(is_met: bool, text: str) -> None:
    """Raise an AssertionError with a text that states the rule and what was found, unless the rule is met."""
    if not is_met:
        raise AssertionError(text)


def require_equal(expected: Mapping[str, Tensor], found: Mapping[str, Tensor], rule: str) -> None:
    """Raise an AssertionError that names the tensors which differ, or which only one side has."""
    common = expected.keys() & found.keys()
    names = expected.keys() ^ found.keys() | {key for key in common if not _is_same(expected[key], found[key])}
    require(not names, f"{rule}; values differ in {', '.join(sorted(names)[:4])}{', ...' if len(names) > 4 else ''}")


def _is_same(expected: Tensor, found: Tensor) -> bool:
    return expected.shape == found.shape and torch.allclose(expected, found, rtol=0, atol=0, equal_nan=True)
