"""The example notebooks run from top to bottom."""

from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
MADE = {
    "compare_methods": ("reports/digits/report.md", "results/results.parquet"),
    "own_training_loop": (),
    "results_to_figure": ("alpha.pdf", "curves.pdf"),
}


def test_every_notebook_is_tested_and_has_no_outputs() -> None:
    nbformat = pytest.importorskip("nbformat")
    notebooks = {path.stem: nbformat.read(path, as_version=4) for path in EXAMPLES.glob("*.ipynb")}
    assert set(notebooks) == set(MADE)
    cells = [cell for notebook in notebooks.values() for cell in notebook.cells if cell.cell_type == "code"]
    assert cells
    assert not any(cell.outputs for cell in cells)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # of Jupyter's packages
@pytest.mark.parametrize("name", MADE)
def test_a_notebook_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = nbformat.read(EXAMPLES / f"{name}.ipynb", as_version=4)
    client = nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    assert all((tmp_path / made).exists() for made in MADE[name])
    assert any(cell.get("outputs") for cell in notebook.cells)
