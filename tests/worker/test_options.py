"""The options of a worker change speed, not numbers: CUDA graphs and torch.compile, which the results record."""

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
    """`both(methods, recipe, **options)`: the specs, and the stores of a cohort without and of one with options."""

    def run(methods, recipe=None, **options):
        plain, other = Store(tmp_path / "plain"), Store(tmp_path / "other")
        specs = by_label(plan_of(methods, recipe, pair=("cnn_6_6", "cnn_4_4")))
        teacher = specs.pop("teacher")
        train(plain, teacher)
        shutil.copytree(plain.folder(teacher.id), other.folder(teacher.id))
        train(plain, *specs.values())
        train(other, *specs.values(), **options)
        return specs, plain, other

    return run


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_cuda_graphs_give_the_same_numbers(both, recorder, monkeypatch, precision):
    """Also in a cohort with methods that are not safe for CUDA graphs, and without the teacher cache."""
    monkeypatch.setattr(optimizer, "GRAPH_DEVICES", {"cpu"})
    monkeypatch.setattr(cohort, "make_recorder", recorder)
    recipe = {"batch_size": 16, "precision": precision}
    specs, plain, other = both(METHODS, recipe, cuda_graphs=True, teacher_cache_gb=1.0)
    for label, spec in specs.items():
        ours, theirs = weights(plain, spec), weights(other, spec)
        assert all(torch.equal(ours[key], theirs[key]) for key in ours), label
        assert row(plain, spec)["test_nll"] == row(other, spec)["test_nll"]
        assert row(other, spec)["cuda_graphs"] == (label in CAPTURED), label
        assert row(plain, spec)["cuda_graphs"] is False


def test_without_a_gpu_no_cuda_graphs_are_captured(both):
    specs, plain, other = both({"vanilla": {}}, cuda_graphs=True)
    for spec in specs.values():
        assert row(other, spec)["cuda_graphs"] is False
        assert row(plain, spec)["test_nll"] == row(other, spec)["test_nll"]


@pytest.mark.slow
def test_compiled_networks_give_the_same_numbers_up_to_rounding(both, monkeypatch):
    """Students and the teacher run compiled in training; validation and the saved weights use the plain network."""
    compiled, scored = [], []
    plain_compile, compute_logits = torch.nn.Module.compile, cohort.compute_logits
    monkeypatch.setattr(
        torch.nn.Module, "compile", lambda self, **how: (compiled.append(self), plain_compile(self, **how))
    )

    def score(network, *rest):
        before = torch._dynamo.utils.counters["stats"]["calls_captured"]
        found = compute_logits(network, *rest)
        scored.append(torch._dynamo.utils.counters["stats"]["calls_captured"] - before)
        return found

    monkeypatch.setattr(cohort, "compute_logits", score)
    specs, plain, other = both({"vanilla": {}, "fitnets": {}}, compile=True)
    assert len(compiled) == len(specs) + 1
    assert torch._dynamo.utils.counters["stats"]["calls_captured"] > 0
    assert set(scored) == {0}
    for spec in specs.values():
        ours, theirs = weights(plain, spec), weights(other, spec)
        for key in ours:
            torch.testing.assert_close(ours[key], theirs[key], rtol=1e-3, atol=1e-5)
        assert (row(plain, spec)["compile"], row(other, spec)["compile"]) == (False, True)


def test_a_compiled_run_has_the_same_numbers_alone_and_in_a_cohort(tmp_path, plan_of, train):
    together, alone = Store(tmp_path / "together"), Store(tmp_path / "alone")
    specs = by_label(plan_of({"vanilla": {}, "rkd_da": {}}, pair=("cnn_6_6", "cnn_4_4")))
    teacher = specs.pop("teacher")
    train(together, teacher)
    shutil.copytree(together.folder(teacher.id), alone.folder(teacher.id))
    train(together, *specs.values(), compile=True)
    train(alone, specs["rkd_da"], compile=True)
    ours, theirs = (weights(store, specs["rkd_da"]) for store in (together, alone))
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
