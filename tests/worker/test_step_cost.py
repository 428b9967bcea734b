from dataclasses import replace

import pytest
import torch

from kdbench.matrix import parse
from kdbench.plan import make_plan
from kdbench.training.method import Task
from kdbench.worker.options import Options
from kdbench.worker.step_cost import StepCost, measure_step_cost

CPU = torch.device("cpu")
TASK = Task(10, 100, (1, 8, 8), 16)
MATRIX = {
    "datasets": ["digits"],
    "pairs": [{"teacher": "cnn_32_32", "student": "mlp_8"}],
    "recipe": {"epochs": 2, "batch_size": 16, "precision": "fp32"},
    "methods": {"vanilla": {}, "dml": {}, "zskt": {"student_steps": 1}},
}


@pytest.fixture(scope="module")
def runs():
    plan = make_plan(parse({"name": "m", **MATRIX}, "m.toml"))
    return {cell.label: next(iter(cell.runs.values())) for cell in plan.cells}


@pytest.mark.parametrize("label", ["teacher", "scratch", "vanilla", "dml", "zskt"])
def test_every_kind_of_run_is_measured(runs, label):
    cost = measure_step_cost(runs[label], TASK, 50, CPU, Options())
    assert cost.own > 0
    assert cost.shared > 0
    assert cost.evaluation > 0


def test_without_validation_images_nothing_is_evaluated(runs):
    assert measure_step_cost(runs["vanilla"], TASK, 0, CPU, Options()).evaluation == 0


def test_a_run_of_no_epochs_costs_nothing(runs):
    spec = runs["teacher"]
    zero = spec.recipe.model_copy(update={"epochs": 0})
    assert measure_step_cost(replace(spec, recipe=zero), TASK, 50, CPU, Options()) == StepCost(0.0, 0.0, 0.0)
