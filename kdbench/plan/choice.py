"""The choice of configurations by the results of the search."""

from kdbench.analysis import best_candidate
from kdbench.matrix import Cell, Sweep
from kdbench.plan.planner import Plan
from kdbench.results import Store
from kdbench.results.columns import SEARCH_COLUMN


def choose_configurations(plan: Plan, store: Store) -> Plan:
    """Return the plan with the configuration of each sweep that has the best mean validation accuracy.

    A run without a result counts as failed. Nothing is chosen if all configurations failed.
    """
    return plan.choose(lambda sweep: _best(sweep, store))


def choose_finished(plan: Plan, store: Store | None) -> Plan:
    """As `choose_configurations`, where all runs of the search are finished; elsewhere nothing is chosen.

    A choice that was made stays.
    """
    if store is None:
        return plan

    def is_finished(sweep: Sweep) -> bool:
        return all(store.is_finished(run.id) for cell in sweep.search for run in cell.runs.values())

    def choose(sweep: Sweep) -> int | None:
        if sweep.chosen is None and is_finished(sweep):
            return _best(sweep, store)
        return sweep.chosen

    return plan.choose(choose)


def _best(sweep: Sweep, store: Store) -> int | None:
    import pandas as pd

    by_seed = {
        index: pd.Series(read_scores(cell, store), list(cell.runs), dtype=float)  # NaN for a run without a score
        for index, cell in enumerate(sweep.search)
    }
    scores = pd.DataFrame(by_seed, dtype=float)
    best = best_candidate(scores)
    return None if best is None else int(str(best))


def read_scores(cell: Cell, store: Store) -> dict[int, float]:
    """Return the validation accuracy of each run of a cell that is done, by seed."""
    results = {seed: store.result(run.id) for seed, run in cell.runs.items()}
    done = {seed: result["row"] for seed, result in results.items() if result and result["status"] == "done"}
    return {seed: float(row[SEARCH_COLUMN]) for seed, row in done.items()}
