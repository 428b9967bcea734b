"""The options `cuda_graphs` and `compile` keep the numbers, and are recorded in the result."""

import shutil

import pytest
import torch
from safetensors.torch import load_file

from kdbench.results import Store
from kdbench.training import optimizer
from kdbench.worker import cohort

METHODS = {"vanilla": {}, "rkd_da": {}, "fitnets": {"mode": "two_stage"}, "snapshot": {"cycles": 2}, "scratch": {}}
CAPTURED = {"vanilla", "rkd_da", "scratch"}


def by_label(plan):
    return {"teacher" if cell.kind == "teacher" else cell.label: cell.runs[0] for cell in plan.cells}


def weights(store, spec):
    return load_file(store.folder(spec.id) / "weights.safetensors")


def row(store, spec):
    return store.result(spec.id)["row"]


@pytest.fixture
def both(tmp_path, plan_of, train):
    """`both(methods, recipe, **options)`: the specs, and the stores of a cohort without and with the options."""

    def run(methods, recipe=None, **options):
        default, other = Store(tmp_path / "default"), Store(tmp_path / "other")
        specs = by_label(plan_of(methods, recipe, pair=("cnn_6_6", "cnn_4_4")))
        teacher = specs.pop("teacher")
        train(default, teacher)
        shutil.copytree(default.folder(teacher.id), other.folder(teacher.id))
        train(default, *specs.values())
        train(other, *specs.values(), **options)
        return specs, default, other

    return run


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_captured_cohort_has_the_same_numbers(both, recorder, monkeypatch, precision):
    """Also with members that cannot be captured; the teacher cache on disk is off."""
    monkeypatch.setattr(optimizer, "GRAPH_DEVICES", {"cpu"})
    monkeypatch.setattr(cohort, "make_recorder", recorder)
    recipe = {"batch_size": 16, "precision": precision}
    specs, default, other = both(METHODS, recipe, cuda_graphs=True, teacher_cache_gb=1.0)
    for label, spec in specs.items():
        ours, theirs = weights(default, spec), weights(other, spec)
        assert all(torch.equal(ours[key], theirs[key]) for key in ours), label
        assert row(default, spec)["test_nll"] == row(other, spec)["test_nll"]
        assert row(other, spec)["cuda_graphs"] == (label in CAPTURED), label
        assert row(default, spec)["cuda_graphs"] is False


def test_without_a_gpu_nothing_is_captured(both):
    specs, default, other = both({"vanilla": {}}, cuda_graphs=True)
    for spec in specs.values():
        assert row(other, spec)["cuda_graphs"] is False
        assert row(default, spec)["test_nll"] == row(other, spec)["test_nll"]


@pytest.mark.slow
def test_compiled_networks_have_the_same_numbers_up_to_rounding(both, monkeypatch):
    """Students train and the teacher runs compiled; evaluation is eager."""
    compiled, captured_by_evaluation = [], []
    torch_compile, compute_logits = torch.nn.Module.compile, cohort.compute_logits
    monkeypatch.setattr(
        torch.nn.Module, "compile", lambda self, **kwargs: (compiled.append(self), torch_compile(self, **kwargs))
    )

    def evaluate(network, *rest):
        before = torch._dynamo.utils.counters["stats"]["calls_captured"]
        logits = compute_logits(network, *rest)
        captured_by_evaluation.append(torch._dynamo.utils.counters["stats"]["calls_captured"] - before)
        return logits

    monkeypatch.setattr(cohort, "compute_logits", evaluate)
    specs, default, other = both({"vanilla": {}, "fitnets": {}}, compile=True)
    assert len(compiled) == len(specs) + 1
    assert torch._dynamo.utils.counters["stats"]["calls_captured"] > 0
    assert set(captured_by_evaluation) == {0}
    for spec in specs.values():
        ours, theirs = weights(default, spec), weights(other, spec)
        for key in ours:
            torch.testing.assert_close(ours[key], theirs[key], rtol=1e-3, atol=1e-5)
        assert (row(default, spec)["compile"], row(other, spec)["compile"]) == (False, True)


@pytest.mark.slow
def test_a_compiled_run_is_the_same_alone_and_in_a_cohort(tmp_path, plan_of, train):
    together, alone = Store(tmp_path / "together"), Store(tmp_path / "alone")
    specs = by_label(plan_of({"vanilla": {}, "rkd_da": {}}, pair=("cnn_6_6", "cnn_4_4")))
    teacher = specs.pop("teacher")
    train(together, teacher)
    shutil.copytree(together.folder(teacher.id), alone.folder(teacher.id))
    train(together, *specs.values(), compile=True)
    train(alone, specs["rkd_da"], compile=True)
    ours, theirs = (weights(store, specs["rkd_da"]) for store in (together, alone))
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
