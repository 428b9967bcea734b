"""Checks for your own classes, to call from your tests.

    from kdbench.testing import check_method

    def test_my_method_satisfies_the_contract():
        check_method(MyMethod)
        check_method(MyMethod, mode="two_stage")

They need no GPU, no data set and no pytest.
"""

from kdbench.testing.contract import check_method

__all__ = ["check_method"]
