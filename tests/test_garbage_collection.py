"""The garbage collector, held back."""

import gc
from collections.abc import Iterator

import pytest

from kdbench.garbage_collection import gc_paused


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    was_on = gc.isenabled()
    yield
    (gc.enable if was_on else gc.disable)()


@pytest.mark.parametrize("on", [True, False])
def test_it_is_held_back_and_then_as_before(on: bool) -> None:
    (gc.enable if on else gc.disable)()
    with gc_paused():
        assert not gc.isenabled()
    assert gc.isenabled() == on


def test_it_is_as_before_after_an_error() -> None:
    gc.enable()
    with pytest.raises(ZeroDivisionError), gc_paused():
        raise ZeroDivisionError
    assert gc.isenabled()
