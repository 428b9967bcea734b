import subprocess
import sys

from kdbench import results

LOADED = """
import sys
import kdbench.results

heavy = {"torch", "pandas", "pyarrow"}
print(sorted(heavy & set(sys.modules)))
kdbench.results.load_results
print(sorted(heavy & set(sys.modules)))
"""


def test_pandas_and_pyarrow_are_imported_only_when_needed() -> None:
    done = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, check=True)
    before, after = done.stdout.splitlines()
    assert before == "[]"
    assert "pyarrow" in after
    assert "torch" not in after


def test_an_unknown_attribute() -> None:
    assert hasattr(results, "load_results")
    assert not hasattr(results, "load_tables")
