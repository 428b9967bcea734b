"""Time the planning of a matrix with 100,000 runs: expand it, check every cell and compute every run's id.

    python benchmarks/planning.py [ALPHAS TEMPERATURES SEEDS]

Requirement: 100,000 runs in under 5 s.
"""

import argparse
import sys
from time import perf_counter

from kdbench.matrix import expand, parse
from kdbench.plan import LocalRegistry, make_plan


def main() -> None:
    """Print the seconds and the runs per second of each step."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("alphas", 100), ("temperatures", 100), ("seeds", 10)):
        parser.add_argument(name, type=int, nargs="?", default=default)
    args = parser.parse_args()
    sweep = {
        "alpha": [(i + 0.5) / args.alphas for i in range(args.alphas)],
        "temperature": [1 + i / 8 for i in range(args.temperatures)],
    }
    matrix = parse(
        {
            "name": "planning",
            "seeds": list(range(args.seeds)),
            "datasets": ["digits"],
            "pairs": [{"teacher": "mlp_64", "student": "mlp_32"}],
            "methods": {"vanilla": sweep},
        },
        "planning",
    )
    start = perf_counter()
    ids = {run.id for cell in expand(matrix, LocalRegistry()).cells for run in cell.runs.values()}
    _print("expand and compute ids", len(ids), perf_counter() - start)
    start = perf_counter()
    runs = make_plan(matrix).runs
    _print("plan with all checks", len(runs), perf_counter() - start)


def _print(what: str, runs: int, seconds: float) -> None:
    sys.stdout.write(f"{what}: {runs} runs in {seconds:.2f} s, {runs / seconds:,.0f} runs/s\n")


if __name__ == "__main__":
    main()
