"""The key of a teacher's cached outputs: equal keys mean equal outputs."""

from dataclasses import replace

import pytest
import torch

from kdbench.matrix.recipe import Adam, Constant, Crop, EarlyStopping, Flip, Recipe
from kdbench.worker import teacher_cache
from kdbench.worker.teacher_cache import IRRELEVANT, cache_key

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def specs(plan_of):
    """Two runs with one teacher, by label."""
    plan = plan_of({"vanilla": {}, "triplet": {}})
    return {cell.label: cell.runs[0] for cell in plan.cells if cell.label in ("vanilla", "triplet")}


OTHER = {
    "epochs": 7,
    "batch_size": 51,
    "optimizer": Adam(),
    "schedule": Constant(),
    "augment": (Crop(),),
    "strong_augment": (Flip(),),
    "precision": "auto",
    "grad_clip_norm": 1.0,
    "train_samples": 99,
    "early_stopping": EarlyStopping(),
    "monitor": "loss",
    "steps_per_epoch": 3,
}


@pytest.mark.parametrize("field", Recipe.model_fields)
def test_the_key_covers_the_fields_that_change_the_outputs(specs, field):
    spec = specs["vanilla"]
    other = replace(spec, recipe=spec.recipe.model_copy(update={field: OTHER[field]}))
    same = cache_key(other, spec.teacher, "weights", CPU) == cache_key(spec, spec.teacher, "weights", CPU)
    assert same == (field in IRRELEVANT)


def test_the_key_covers_seed_split_teacher_threads_and_hardware_but_not_the_method(specs, monkeypatch):
    spec = specs["vanilla"]

    def key(run=spec, teacher=spec.teacher, weights="weights"):
        return cache_key(run, teacher, weights, CPU)

    assert key(specs["triplet"]) == key()
    keys = [
        key(),
        key(replace(spec, seed=1)),
        key(replace(spec, stream="teacher")),
        key(replace(spec, split=replace(spec.split, split_seed=1))),
        key(replace(spec, dataset=replace(spec.dataset, fingerprint="other"))),
        key(teacher=replace(spec.teacher, seed=1)),
        key(weights="others"),
    ]
    monkeypatch.setattr(torch, "get_num_threads", lambda: 99)
    keys.append(key())
    monkeypatch.setattr(teacher_cache, "_hardware", lambda device: ["another"])
    keys.append(key())
    monkeypatch.setattr(teacher_cache, "source_digest", lambda: "another")
    assert len({*keys, key()}) == 10
