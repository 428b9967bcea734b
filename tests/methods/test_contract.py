"""Every method satisfies the contract that `kdbench.testing.check_method` checks."""

import pytest

from kdbench.hyperparameters import declared
from kdbench.methods import METHODS
from kdbench.testing import check_method
from kdbench.testing.contract import find_sync_ops

SYNC_OPS = {"nuclear_norm": {"_linalg_svd"}}  # torch reads on the host whether the singular values were found


def test_a_method_satisfies_the_contract(parts):
    check_method(list(parts), parameters=parts)


def test_a_step_does_not_wait_for_a_gpu(build, teacher, parts):
    """Also of methods that are not `cuda_graph_safe`."""
    assert find_sync_ops(build(parts, teacher)) == set().union(*(SYNC_OPS.get(name, set()) for name in parts))


@pytest.mark.parametrize("method", METHODS)
def test_every_hyperparameter_has_a_default(method):
    assert [name for name, parameter in declared(METHODS[method]).items() if parameter.is_required] == []


@pytest.mark.parametrize("method", METHODS)
def test_the_docstring_begins_with_the_formula(method):
    assert METHODS[method].__doc__.startswith("`L")
