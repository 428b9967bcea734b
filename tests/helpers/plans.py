"""Plans of small matrices on digits."""

from typing import Any

from kdbench.matrix import RunSpec, parse
from kdbench.plan import Plan, make_plan

RECIPE = {"epochs": 2, "batch_size": 32, "train_samples": 100, "precision": "fp32"}
BASE: dict[str, Any] = {
    "name": "m",
    "seeds": [0, 1],
    "datasets": ["digits"],
    "pairs": [{"teacher": "cnn_8_16", "student": "mlp_16"}],
    "recipe": RECIPE,
}


def plan_of(**changes: Any) -> Plan:
    """Return the plan of a small matrix, with other keys."""
    return make_plan(parse({**BASE, **changes}, "m.toml"))


def with_method(label: str, **table: Any) -> Plan:
    """Return the plan of a small matrix with one method."""
    return plan_of(methods={label: table})


def of_cell(plan: Plan, label: str) -> dict[int, RunSpec]:
    """Return the runs of the only cell of a label, by seed."""
    (cell,) = [cell for cell in plan.cells if cell.label == label]
    return dict(cell.runs)


def ids(plan: Plan, label: str) -> list[str]:
    """Return the ids of the runs of the only cell of a label."""
    return [run.id for run in of_cell(plan, label).values()]
