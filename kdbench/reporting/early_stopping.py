"""What early stopping means for a table: which weights are shown, and how long each row was trained."""

from collections.abc import Mapping, Sequence
from typing import Any

from kdbench.formatting import format_range
from kdbench.reporting.matrix_results import MatrixResults
from kdbench.reporting.rows import Row
from kdbench.results.index import IndexCell

BEST = {"accuracy": "the highest validation accuracy", "loss": "the lowest validation loss"}  # by `recipe.monitor`


def early_stopping_note(results: MatrixResults, rows: Sequence[Row]) -> str:
    """Return that rows show the weights that early stopping keeps, and their epochs; empty if no row stops early."""
    stopping = {row.name: cells for row in rows if (cells := _stopping_cells(results, row))}
    if not stopping:
        return ""
    shown = [_recipe(results, cell) for cells in stopping.values() for cell in cells]
    best = " or ".join(dict.fromkeys(BEST[recipe["monitor"]] for recipe in shown))
    trained = [f"{name} {epochs}" for name, cells in stopping.items() if (epochs := _epochs(results, cells))]
    epochs = f" Epochs trained: {'; '.join(trained)}." if trained else ""
    return f"Early stopping: whatever the selection, the weights of the epoch with {best} are shown.{epochs}"


def _stopping_cells(results: MatrixResults, row: Row) -> list[IndexCell]:
    chosen = [choice.chosen for choice in row.choices.values() if choice.chosen is not None]
    return [cell for cell in chosen if _recipe(results, cell).get("early_stopping") is not None]


def _recipe(results: MatrixResults, cell: IndexCell) -> Mapping[str, Any]:
    training = results.index.trainings.get(cell.training)
    return training.recipe if training else {}


def _epochs(results: MatrixResults, cells: Sequence[IndexCell]) -> str:
    epochs = [value for cell in cells for value in results.values(cell, "epochs_run")]
    return format_range(epochs) if epochs else ""
