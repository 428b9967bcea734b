"""The stored golden numbers, and their comparison with those of this code."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import golden_parts
import golden_runs
import torch

from kdbench.numerics import NUMERICS

Values = dict[str, dict[str, list[float]]]  # by case and quantity

FILE = Path(__file__).parent.parent / "golden" / "values.json"
GROUPS: Mapping[str, Callable[[], Values]] = {
    "methods": golden_runs.of_methods,
    "recipes": golden_runs.of_recipes,
    "networks": golden_parts.of_networks,
    "augmentations": golden_parts.of_augmentations,
    "metrics": golden_parts.of_metrics,
    "splits": golden_parts.of_splits,
}
# Largest difference, relative to the largest number of a quantity. Measured on one x86 processor with 1 and 2 threads,
# with the kernels for SSE4.1, AVX2 and AVX-512, and without oneDNN: at most a fifth of these.
TOLERANCE = 2e-3
LOOSER = {"network ": 1e-2, "method zskt": 5e-2}  # deep networks, and 60 steps against a generator: rounding grows
EXACT = 1e-5
EXACT_CASES = ("augmentation ", "metrics", "split")
EXACT_QUANTITIES = ("lr", "counts", "parameters", "initial weights")
REMEDY = (
    "numbers of runs have moved. If that was not meant, fix it. If it was, raise NUMERICS in kdbench/numerics.py (or "
    "the `version` of the method, if only one moved), run `python scripts/golden`, and commit tests/golden/values.json"
)


def compute(group: str) -> Values:
    """Return the numbers of a group as this code computes them, on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return GROUPS[group]()
    finally:
        torch.set_num_threads(threads)


def stored(group: str) -> Values:
    """Return the stored numbers of a group."""
    values: Values = json.loads(FILE.read_text(encoding="utf-8"))["values"][group]
    return values


def stored_numerics() -> int:
    """Return the version of the stored numbers."""
    return int(json.loads(FILE.read_text(encoding="utf-8"))["numerics"])


def differences(found: Values, expected: Values) -> Iterator[str]:
    """Yield what differs, one line each."""
    yield from (f"{case}: no stored numbers" for case in found if case not in expected)
    yield from (f"{case}: stored, but no longer computed" for case in expected if case not in found)
    for case in sorted(found.keys() & expected.keys()):
        for name in sorted(found[case].keys() | expected[case].keys()):
            reason = _difference(found[case].get(name), expected[case].get(name), tolerance(case, name))
            if reason:
                yield f"{case}, {name}: {reason}"


def tolerance(case: str, quantity: str) -> float:
    """Return the largest relative difference of a quantity."""
    if case.startswith(EXACT_CASES) or quantity in EXACT_QUANTITIES:
        return EXACT
    return next((value for start, value in LOOSER.items() if case.startswith(start)), TOLERANCE)


def _difference(found: list[float] | None, expected: list[float] | None, allowed: float) -> str | None:
    if found is None or expected is None or len(found) != len(expected):
        return f"{len(found or [])} numbers instead of {len(expected or [])}"
    scale = max(map(abs, expected), default=0.0) or 1.0
    distances = [abs(a - b) / scale for a, b in zip(found, expected, strict=True)]
    if all(distance <= allowed for distance in distances):  # false for NaN
        return None
    return f"differs by {max(distances):.2g} of the largest number, {allowed:g} is allowed"


def write() -> list[str]:
    """Compute and store the numbers of all groups; return what differs from before."""
    values = {group: compute(group) for group in GROUPS}
    before = json.loads(FILE.read_text(encoding="utf-8"))["values"] if FILE.exists() else {}
    changes = [line for group in GROUPS for line in differences(values[group], before.get(group, {}))]
    FILE.write_text(_to_text(values), encoding="utf-8")
    return changes


def _to_text(values: Mapping[str, Values]) -> str:
    """Return the file with one quantity per line, so that a change shows which ones moved."""
    groups = []
    for group, cases in values.items():
        shown = []
        for case, quantities in cases.items():
            lines = (f"    {json.dumps(key)}: {_numbers(numbers)}" for key, numbers in sorted(quantities.items()))
            shown.append(f"   {json.dumps(case)}: {{\n" + ",\n".join(lines) + "\n   }")
        groups.append(f"  {json.dumps(group)}: {{\n" + ",\n".join(shown) + "\n  }")
    return f'{{\n "numerics": {NUMERICS},\n "values": {{\n' + ",\n".join(groups) + "\n }\n}\n"


def _numbers(numbers: list[float]) -> str:
    return "[" + ", ".join(f"{number:.7g}" for number in numbers) + "]"
