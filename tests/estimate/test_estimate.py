from pathlib import Path

import pytest

from kdbench.errors import TrainingError
from kdbench.estimate import run_estimate

MATRIX = """
name = "small"
seeds = [0, 1]
datasets = ["digits"]
pairs = [{ teacher = "cnn_4_4", student = "mlp_8" }]
[recipe]
epochs = 2
precision = "fp32"
[methods.vanilla]
alpha = [0.5, 0.9]
[run]
devices = "cpu"
workers = 2
"""


@pytest.mark.slow
def test_a_matrix_is_estimated_in_a_process_of_its_own(tmp_path: Path) -> None:
    file = tmp_path / "small.toml"
    file.write_text(MATRIX)
    found = run_estimate(file, tmp_path / "results")
    assert sum(kind.runs for kind in found.kinds) == 7  # a teacher, and two seeds of scratch and two configurations
    assert all(kind.hours is not None and kind.hours > 0 for kind in found.kinds)
    assert found.slots == 2
    assert 0 < found.wall_hours <= found.busy_hours <= 2 * found.wall_hours
    student = 8 * 64 + 8 + 8 * 10 + 10
    assert found.results_bytes > 6 * 4 * student  # six students in float32, and the teacher
    assert found.checkpoint_bytes > 0
    assert found.teacher_cache_bytes == 2_000_000_000
    assert not (tmp_path / "results").exists()


@pytest.mark.slow
def test_an_error_of_the_matrix_is_that_of_plan(tmp_path: Path) -> None:
    file = tmp_path / "small.toml"
    file.write_text(MATRIX.replace("vanilla", "vanila"))
    with pytest.raises(TrainingError, match="unknown method 'vanila'"):
        run_estimate(file, tmp_path)
