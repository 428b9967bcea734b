"""The cells of a plan as the index of the matrix has them."""

from kdbench.matrix import Cell, Excluded
from kdbench.plan.training import training_key
from kdbench.results import ExcludedCell, IncompatibleCell, IndexCell


def index_cell(cell: Cell) -> IndexCell:
    """Return the entry of a cell."""
    return IndexCell(
        kind=cell.kind,
        label=cell.label,
        dataset=cell.dataset.name,
        teacher=cell.pair.teacher,
        student=cell.pair.student,
        method=cell.first.method,
        hyperparameters={**cell.first.hyperparameters, **cell.swept},
        runs={str(seed): run.id for seed, run in cell.runs.items()},
        phase=cell.phase,
        training=training_key(cell.first),
        teachers={str(seed): run.id for seed, run in cell.teachers.items()},
    )


def index_incompatible(cell: Cell, reason: str) -> IncompatibleCell:
    """Return the entry of an incompatible cell."""
    return IncompatibleCell(cell.label, cell.dataset.name, cell.pair.teacher, cell.pair.student, reason, len(cell.runs))


def index_excluded(excluded: Excluded) -> ExcludedCell:
    """Return the entry of an excluded cell."""
    pair = excluded.pair
    return ExcludedCell(excluded.label, excluded.dataset, pair.teacher, pair.student, excluded.seeds, excluded.why)
