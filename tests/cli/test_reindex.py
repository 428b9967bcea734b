"""`reindex`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from kdbench.results import Store


def test_the_tables_are_rebuilt(copied: Any, invoke: Callable[..., Any]) -> None:
    expected = copied.scores()
    (copied.results / "results.parquet").write_bytes(b"PAR1")
    (copied.results / "history.parquet").unlink()
    lines = invoke("reindex").out.splitlines()
    assert lines[0].startswith("results/results.parquet: corrupted; ")
    assert "checked the sizes of all files of 9 runs: 0 corrupted" in lines
    assert lines[-1] == "wrote results/results.parquet, results/history.parquet"
    assert copied.scores() == expected
    assert pd.read_parquet(copied.results / "history.parquet")["run_id"].nunique() == 9


def test_only_deep_finds_changed_content_of_equal_size(
    copied: Any, invoke: Callable[..., Any], flip_bit: Callable[[Path], None]
) -> None:
    run = copied.run_of("vanilla")
    flip_bit(copied.results / "runs" / run / "weights.safetensors")
    assert "checked the sizes of all files of 9 runs: 0 corrupted" in invoke("reindex").out
    out = invoke("reindex", "--deep").out
    assert f"{run}: corrupted: weights.safetensors " in out
    assert "checked the content of all files of 9 runs: 1 corrupted" in out
    assert Store(copied.results).state(run) == "pending"
