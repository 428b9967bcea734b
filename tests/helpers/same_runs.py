"""Compare what two results folders hold of the same runs."""

from collections.abc import Iterable

import pyarrow.parquet as pq
import torch
from safetensors.torch import load_file

from kdbench.matrix import RunSpec
from kdbench.results import Store

VARIABLE_COLUMNS = {"train_seconds", "peak_memory_mb", "started", "finished", "cohort_size", "attempts"}


def assert_same_runs(specs: Iterable[RunSpec], one: Store, other: Store) -> None:
    """Assert that weights, predictions, metrics and history are equal bit for bit; the history without its seconds."""
    for spec in specs:
        folders = [store.folder(spec.id) for store in (one, other)]
        for name in ("weights.safetensors", "predictions.safetensors"):
            first, second = (load_file(folder / name) for folder in folders)
            assert first.keys() == second.keys()
            assert all(torch.equal(first[key], second[key]) for key in first), (spec.method, name)
        results = [store.result(spec.id) or {} for store in (one, other)]
        rows = [{k: v for k, v in result["row"].items() if k not in VARIABLE_COLUMNS} for result in results]
        assert rows[0] == rows[1], spec.method
        assert results[0]["deployed"] == results[1]["deployed"], spec.method
        histories = [pq.read_table(folder / "history.parquet").drop(["seconds"]) for folder in folders]
        assert histories[0].equals(histories[1]), spec.method
