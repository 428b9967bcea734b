"""The garbage collector can be paused."""

import gc
from collections.abc import Iterator

import pytest

from kdbench.garbage_collection import gc_paused


@pytest.fixture(autouse=True)
def restore_collector() -> Iterator[None]:
    was_enabled = gc.isenabled()
    yield
    (gc.enable if was_enabled else gc.disable)()


@pytest.mark.parametrize("is_enabled", [True, False])
def test_collection_is_disabled_inside_and_restored_after(is_enabled: bool) -> None:
    (gc.enable if is_enabled else gc.disable)()
    with gc_paused():
        assert not gc.isenabled()
    assert gc.isenabled() == is_enabled


def test_collection_is_restored_after_an_exception() -> None:
    gc.enable()
    with pytest.raises(ZeroDivisionError), gc_paused():
        raise ZeroDivisionError
    assert gc.isenabled()
