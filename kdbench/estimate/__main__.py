"""`python -m kdbench.estimate MATRIX`: measure in a process with the environment of a worker, and print JSON."""

import argparse
import json
import resource
import sys
from dataclasses import asdict
from pathlib import Path

import torch

from kdbench.errors import KdbenchError
from kdbench.estimate.measure import measure
from kdbench.worker.memory import free_memory


def main() -> None:
    """Print the estimate as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("matrix", type=Path)
    parser.add_argument("--results", type=Path, default=Path("results"))
    arguments = parser.parse_args()
    limit = int(0.8 * free_memory(torch.device("cpu")))
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))  # so that this process runs out of memory, and no other
    try:
        found = measure(arguments.matrix, arguments.results)
    except KdbenchError as error:
        raise SystemExit(str(error)) from None
    sys.stdout.write(json.dumps(asdict(found)) + "\n")


if __name__ == "__main__":
    main()
