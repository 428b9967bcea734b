import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdbench.matrix import DataSpec, Expansion, NetworkSpec, Part, RunSpec, Split, expand, parse
from kdbench.matrix.recipe import Recipe

TEACHER = RunSpec(
    DataSpec("digits", "digits", {}, "f00d"),
    NetworkSpec("large"),
    (Part("scratch", {"label_smoothing": 0.0}),),
    Recipe(epochs=5, precision="fp32"),
    Split(),
    seed=0,
)
SPEC = replace(
    TEACHER,
    student=NetworkSpec("small"),
    parts=(Part("vanilla", {"alpha": 0.9, "temperature": 4.0}),),
    needs=(("teacher", TEACHER),),
    seed=3,
)
OWN = NetworkSpec("mine", "nets:make", {"depth": 3}, "0123")

SEEDS: list[dict[str, Any]] = [{"seed": 4}, {"needs": (("teacher", replace(TEACHER, seed=1)),)}]

IN_IT: list[dict[str, Any]] = [
    {"dataset": replace(SPEC.dataset, fingerprint="beef")},
    {"student": NetworkSpec("tiny")},
    {"student": OWN},
    {"student": NetworkSpec("small", weights="file", start="0123")},
    {"student": NetworkSpec("small", pretrained=True, start="0123")},
    {"recipe": Recipe(epochs=6, precision="fp32")},
    {"recipe": Recipe(epochs=5, precision="bf16")},
    {"split": Split(validation=0.2)},
    {"split": Split(split_seed=1)},
    {"split": Split(track_test=True)},
    {"parts": (Part("vanilla", {"alpha": 0.8, "temperature": 4.0}),)},
    {"parts": (Part("vanilla", {"alpha": 0.9, "temperature": 4.0}, version=2),)},
    {"parts": (Part("vanilla", {"alpha": 0.9, "temperature": 4.0}, source="0123"),)},
    {"parts": (Part("logit_mse", {"alpha": 0.9, "temperature": 4.0}),)},
    {"parts": (*SPEC.parts, Part("triplet", {}))},
    {"needs": ()},
    {"needs": (("teacher", replace(TEACHER, recipe=Recipe(epochs=4, precision="fp32"))),)},
    {"needs": (("teachers.0", TEACHER),)},
    {"peers": (NetworkSpec("small"),)},
    {"numerics": SPEC.numerics + 1},
    {"needs": (("teacher", replace(TEACHER, numerics=TEACHER.numerics + 1)),)},
    {"stream": "teacher"},
]

NOT_IN_IT: list[dict[str, Any]] = [
    {"student": NetworkSpec("label", architecture="small")},
    {"dataset": replace(SPEC.dataset, name="renamed", kind="npz", options={"root": "elsewhere"})},
    {"parts": (Part("vanilla", {"temperature": 4.0, "alpha": 0.9}),)},
]


def test_the_id_is_frozen() -> None:
    """Changing these literals orphans every existing result: raise a version instead."""
    assert TEACHER.id == "68d2823e3e3c85c4"
    assert SPEC.id == "b0b2bce38ca03c8c"
    assert SPEC.cell == "a36052b7c9f89266"


@pytest.mark.parametrize("change", IN_IT, ids=str)
def test_what_is_in_the_identity(change: dict[str, Any]) -> None:
    changed = replace(SPEC, **change)
    assert changed.id != SPEC.id
    assert changed.cell != SPEC.cell


@pytest.mark.parametrize("change", SEEDS, ids=str)
def test_seeds_are_in_the_id_and_not_in_the_cell(change: dict[str, Any]) -> None:
    changed = replace(SPEC, **change)
    assert changed.id != SPEC.id
    assert changed.cell == SPEC.cell


def test_all_changes_give_different_ids() -> None:
    changes = [*IN_IT, *SEEDS]
    assert len({SPEC.id, *(replace(SPEC, **change).id for change in changes)}) == len(changes) + 1


@pytest.mark.parametrize("change", NOT_IN_IT, ids=str)
def test_what_is_not_in_the_identity(change: dict[str, Any]) -> None:
    changed = replace(SPEC, **change)
    assert (changed.id, changed.cell) == (SPEC.id, SPEC.cell)


def test_your_own_network_is_identified_by_its_source() -> None:
    ids = {
        replace(SPEC, student=network).id
        for network in (
            OWN,
            replace(OWN, options={"depth": 4}),
            replace(OWN, source="4567"),
            replace(OWN, factory="x:y"),
        )
    }
    assert len(ids) == 4
    assert replace(SPEC, student=replace(OWN, name="renamed")).id == replace(SPEC, student=OWN).id


def test_without_data_the_identity_is_provisional() -> None:
    here = replace(SPEC, dataset=DataSpec("digits", "digits", {}))
    assert here.id != SPEC.id
    assert replace(SPEC, dataset=DataSpec("other", "digits", {})).id == here.id
    assert replace(SPEC, dataset=DataSpec("digits", "digits", {"resize": 8})).id != here.id


def test_the_cell_depends_on_the_seed_of_a_fixed_teacher() -> None:
    other = replace(TEACHER, seed=1)
    fixed = replace(SPEC, split=Split(teacher_seed=1), needs=(("teacher", other),))
    assert fixed.cell != SPEC.cell
    assert replace(TEACHER, split=Split(teacher_seed=1)).id == TEACHER.id
    assert replace(TEACHER, split=Split(teacher_seed=1)).cell == TEACHER.cell


def test_paired_teachers_share_a_cell() -> None:
    paired = Split(teacher_seed="paired")
    runs = [replace(SPEC, split=paired, seed=s, needs=(("teacher", replace(TEACHER, seed=s)),)) for s in range(3)]
    assert len({run.id for run in runs}) == 3
    assert {run.cell for run in runs} == {runs[0].cell} != {SPEC.cell}


def test_properties_of_a_run() -> None:
    assert (SPEC.method, SPEC.hyperparameters) == ("vanilla", {"alpha": 0.9, "temperature": 4.0})
    assert (SPEC.teacher, TEACHER.teacher) == (TEACHER, None)
    summed = replace(SPEC, parts=(Part("triplet", {"margin": 1.0}), *SPEC.parts))
    assert summed.method == "triplet + vanilla"
    assert summed.hyperparameters == {"triplet.margin": 1.0, "vanilla.alpha": 0.9, "vanilla.temperature": 4.0}


def test_the_scratch_run_of_a_run() -> None:
    scratch = replace(SPEC, peers=(NetworkSpec("tiny"),)).scratch()
    assert (scratch.method, scratch.needs, scratch.peers) == ("scratch", (), ())
    assert (scratch.student, scratch.recipe, scratch.seed) == (SPEC.student, SPEC.recipe, SPEC.seed)


NAMES = st.text(max_size=5)
NETWORKS = st.builds(NetworkSpec, NAMES) | st.builds(
    NetworkSpec, NAMES, NAMES, st.dictionaries(NAMES, st.integers() | st.booleans() | NAMES, max_size=2), NAMES
)
VALUES = (
    st.floats(allow_nan=False, allow_infinity=False) | st.integers() | st.lists(st.integers()).map(tuple) | st.none()
)
PARTS = st.builds(Part, NAMES, st.dictionaries(NAMES, VALUES, max_size=3), st.integers(1, 3), st.none() | NAMES)
RUNS = st.builds(
    RunSpec,
    st.builds(DataSpec, NAMES, NAMES, st.dictionaries(NAMES, NAMES, max_size=1), st.none() | NAMES),
    NETWORKS,
    st.lists(PARTS, min_size=1, max_size=2).map(tuple),
    st.builds(Recipe, epochs=st.integers(1, 9), augment=st.just(()), grad_clip_norm=st.none() | st.floats(0.1, 1)),
    st.builds(Split, st.floats(0, 0.5), st.integers(0, 9), st.integers(0, 9) | st.just("paired"), st.booleans()),
    st.integers(0, 9),
    peers=st.lists(NETWORKS, max_size=1).map(tuple),
)


@given(RUNS, st.lists(st.tuples(NAMES, RUNS), max_size=2, unique_by=lambda need: need[0]).map(tuple))
def test_a_run_is_the_same_after_a_round_trip(run: RunSpec, needs: tuple[tuple[str, RunSpec], ...]) -> None:
    complete = replace(run, needs=needs)
    again = RunSpec.from_json(json.loads(json.dumps(complete.to_json())))
    assert (again.id, again.cell) == (complete.id, complete.cell)
    assert again.to_json() == json.loads(json.dumps(complete.to_json()))
    assert [(role, need.id) for role, need in again.needs] == [(role, need.id) for role, need in needs]


@given(RUNS, RUNS)
def test_a_seed_changes_the_id_and_never_the_cell(one: RunSpec, other: RunSpec) -> None:
    assert (replace(one, seed=other.seed).id == one.id) == (one.seed == other.seed)
    assert replace(one, seed=other.seed).cell == one.cell
    assert len(one.id) == 16
    assert set(one.id) <= set("0123456789abcdef")


PLAIN = {"name": "m", "datasets": ["digits"], "pairs": [{"teacher": "mlp_16_16", "student": "mlp_8"}]}


@pytest.fixture(scope="module")
def installed() -> Any:
    """The real catalog; it imports torch."""
    from kdbench.plan import LocalRegistry

    return LocalRegistry()


def ids(catalog: Any, **tables: Any) -> list[str]:
    expansion: Expansion = expand(parse({**PLAIN, **tables}, tables.get("name", "m.toml")), catalog)
    return [run.id for cell in expansion.cells for run in cell.runs.values()]


def test_explicit_defaults_and_integers_do_not_change_the_identity(installed: Any) -> None:
    plain = ids(installed, recipe={"optimizer": {"name": "sgd", "lr": 1.0}}, methods={"vanilla": {"alpha": 1.0}})
    written = ids(
        installed,
        recipe={"epochs": 100, "optimizer": {"lr": 1, "momentum": 0.9, "name": "sgd"}, "schedule": "cosine"},
        methods={"vanilla": {"temperature": 4, "alpha": 1}},
        protocol={"teacher_seed": 0, "validation": 0.1},
    )
    assert plain == written
    assert len(set(plain)) == 3


def test_names_in_the_file_are_not_in_the_identity(installed: Any) -> None:
    plain = ids(installed, methods={"vanilla": {}})
    renamed = ids(
        installed,
        name="other",
        methods={"HKD": {"method": "vanilla"}},
        datasets=["figures"],
        dataset={"figures": {"kind": "digits"}},
        run={"devices": "cpu", "workers": 2},
    )
    assert plain == renamed


def test_the_precision_is_resolved_before_the_identity(installed: Any) -> None:
    (auto, *_), (fp32, *_), (bf16, *_) = (
        ids(installed, recipe={"precision": precision}) for precision in ("auto", "fp32", "bf16")
    )
    assert fp32 != bf16
    assert auto in (fp32, bf16)


def test_weights_are_identified_by_their_content() -> None:
    here, there = (
        NetworkSpec("a", architecture="small", weights="here", start="0123"),
        NetworkSpec("small", weights="there", start="0123"),
    )
    assert replace(SPEC, student=here).id == replace(SPEC, student=there).id
    assert replace(SPEC, student=replace(here, start="4567")).id != replace(SPEC, student=here).id
    assert replace(SPEC, student=here.untrained()).id == SPEC.id


def test_a_network_with_weights_survives_a_round_trip() -> None:
    spec = replace(SPEC, student=replace(OWN, weights="file", start="0123"))
    assert RunSpec.from_json(json.loads(json.dumps(spec.to_json()))).student == spec.student


def test_runs_share_equal_recipes_and_teachers() -> None:
    data = [replace(SPEC, seed=seed).to_json() for seed in range(2)]
    first, second = map(RunSpec.from_json, data)
    assert first.recipe is second.recipe
    assert first.teacher is second.teacher
    other = RunSpec.from_json({**data[1], "recipe": {**data[1]["recipe"], "epochs": 7}})
    assert (other.recipe.epochs, second.recipe) == (7, first.recipe)
