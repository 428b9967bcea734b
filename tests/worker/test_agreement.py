"""The agreement with the teacher in a report, from the runs that workers have trained."""

import pytest
import torch

from kdbench.reporting import make_report
from kdbench.reporting.predictions import PredictionReader
from kdbench.results import Store
from kdbench.results.table import load_results
from kdbench.training.evaluation import compute_logits
from kdbench.worker import build
from kdbench.worker.cohort_data import load_cohort_data, load_task

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def trained(tmp_path_factory, plan_of, train):
    """A finished matrix with methods whose teacher role is the pair's teacher, an earlier generation, or nothing."""
    store, plan = Store(tmp_path_factory.mktemp("agreement")), plan_of({"vanilla": {}, "born_again": {}, "dml": {}})
    for spec in plan.runs:
        train(store, spec)
    store.write_index(plan.index())
    return plan, store


def predicted(store, spec):
    """Return the classes that the weights on disk predict."""
    network = build.Teachers(store, load_task(spec), CPU)(spec)
    return compute_logits(network, load_cohort_data(spec, CPU).test.batches()).argmax(dim=1)


def test_every_row_is_compared_with_the_teacher_of_the_pair(trained):
    plan, store = trained
    frame = load_results(str(store.root))
    table = make_report(plan.index(), frame, predictions=PredictionReader.of(store.root)).accuracy
    position = [column.full_title for column in table.columns].index("agreement with teacher (%)")
    shown = {row[0].text: row[position] for row in table.rows}
    specs = {spec.id: spec for spec in plan.runs}
    (teacher,) = (next(iter(cell.runs.values())) for cell in plan.index().cells if cell.kind == "teacher")
    theirs = predicted(store, specs[teacher])
    assert shown["teacher"].display == ""
    rows = {"student from scratch": "scratch", "vanilla": "vanilla", "born_again": "born_again", "dml": "dml"}
    for name, label in rows.items():
        (cell,) = (one for one in plan.index().cells if one.label == label)
        run = specs[cell.runs["0"]]
        expected = (predicted(store, run) == theirs).double().mean().item()
        assert shown[name].mean == pytest.approx(expected), name


def test_born_again_is_not_compared_with_its_earlier_generation(trained):
    plan, store = trained
    (cell,) = (one for one in plan.index().cells if one.label == "born_again")
    run = next(spec for spec in plan.runs if spec.id == cell.runs["0"])
    assert cell.teachers["0"] != dict(run.needs)["teacher"].id
    assert store.result(run.id)["row"]["teacher_agreement"] is None
