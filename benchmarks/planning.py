"""How long it takes to expand a matrix of 100,000 runs, check every cell and name every run.

    python benchmarks/planning.py [ALPHAS TEMPERATURES SEEDS]

The demand: 100,000 runs in under 5 s.
"""

import argparse
import sys
from time import perf_counter

from kdbench.matrix import expand, parse
from kdbench.plan import Registry, make_plan


def main() -> None:
    """Print seconds and runs per second of each step."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("alphas", 100), ("temperatures", 100), ("seeds", 10)):
        parser.add_argument(name, type=int, nargs="?", default=default)
    asked = parser.parse_args()
    sweep = {
        "alpha": [(i + 0.5) / asked.alphas for i in range(asked.alphas)],
        "temperature": [1 + i / 8 for i in range(asked.temperatures)],
    }
    matrix = parse(
        {
            "name": "planning",
            "seeds": list(range(asked.seeds)),
            "datasets": ["digits"],
            "pairs": [{"teacher": "mlp_64", "student": "mlp_32"}],
            "methods": {"vanilla": sweep},
        },
        "planning",
    )
    start = perf_counter()
    ids = {run.id for cell in expand(matrix, Registry()).cells for run in cell.runs.values()}
    _tell("expand and identify", len(ids), perf_counter() - start)
    start = perf_counter()
    runs = make_plan(matrix).runs
    _tell("the whole plan, every cell checked and in order", len(runs), perf_counter() - start)


def _tell(what: str, runs: int, seconds: float) -> None:
    sys.stdout.write(f"{what}: {runs} runs in {seconds:.2f} s, {runs / seconds:,.0f} runs/s\n")


if __name__ == "__main__":
    main()
