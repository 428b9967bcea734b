"""The cells of an expansion that can be trained, and the incompatible ones."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

from kdbench.matrix import Cell, Sweep
from kdbench.matrix.cells import every_cell


@final
@dataclass(frozen=True)
class Incompatible:
    """An incompatible cell, with the reason."""

    cell: Cell
    reason: str


def check_items(
    items: Sequence[Cell | Sweep], incompatibility: Callable[[Cell], str | None]
) -> tuple[tuple[Cell | Sweep, ...], tuple[Incompatible, ...]]:
    """Return the items without incompatible cells, and these.

    A sweep of which one configuration is left needs no search. A teacher that nothing reads any more is left out,
    except for that of the pair.
    """
    kept: list[Cell | Sweep] = []
    incompatible: list[Incompatible] = []
    for item in items:
        candidates = item.candidates if isinstance(item, Sweep) else ((item,),)
        reasons = [next(filter(None, map(incompatibility, cells)), None) for cells in candidates]
        incompatible += [Incompatible(cells[0], why) for cells, why in zip(candidates, reasons, strict=True) if why]
        left = [cells for cells, why in zip(candidates, reasons, strict=True) if not why]
        if isinstance(item, Sweep) and len(left) > 1:
            kept.append(Sweep(tuple((search, report) for search, report in left)))
        else:
            kept += [cells[-1] for cells in left]
    needed = {need.id for cell in every_cell(kept) for run in cell.runs.values() for _, need in run.needs}
    return tuple(item for item in kept if _is_used(item, needed)), tuple(incompatible)


def _is_used(item: Cell | Sweep, needed: set[str]) -> bool:
    if isinstance(item, Sweep) or item.kind != "teacher" or (item.label, item.phase) == ("teacher", "report"):
        return True
    return any(run.id in needed for run in item.runs.values())
