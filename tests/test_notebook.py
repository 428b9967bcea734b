"""`kdbench.run`, `tune` and `report` in a real notebook."""

import os
from pathlib import Path

import nbclient
import nbformat
import pytest

import kdbench

MATRIX = """
name = "small"
datasets = ["digits"]
pairs = [{ teacher = "cnn_4_8", student = "mlp_8" }]
recipe = { epochs = 1, train_samples = 100, batch_size = 50, precision = "fp32" }
methods.vanilla = {}
run = { devices = "cpu", workers = 1 }
"""
CELLS = (
    "import kdbench",
    'kdbench.run("small.toml")[["label", "status"]]',
    'kdbench.report("small")',
    'kdbench.tune("vanilla", "small.toml", trials=2)',
)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # of Jupyter's packages
def test_progress_and_data_frames_are_displayed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = str(Path(kdbench.__file__).parent.parent)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")])))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    (tmp_path / "small.toml").write_text(MATRIX)
    notebook = nbformat.v4.new_notebook(cells=list(map(nbformat.v4.new_code_cell, CELLS)))
    nbclient.NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    _, run, report, tune = ("\n".join(map(text_of, cell.outputs)) for cell in notebook.cells)
    assert "3 runs, 0 already finished" in run
    assert "3 of 3 runs finished" in run
    assert run.split().count("done") == 3
    assert "digits: cnn_4_8 → mlp_8" in report
    assert "student from scratch" in report
    assert tune.count("already finished") == 1
    assert "val_accuracy" in tune
    assert (tmp_path / "reports" / "small" / "report.md").exists()


def text_of(output: nbformat.NotebookNode) -> str:
    """The plain text of an output of a cell."""
    return str(output["text"] if output["output_type"] == "stream" else output["data"]["text/plain"])
