"""A matrix to its runs: identities, what is shared, what is needed first, and why a cell cannot run."""

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plans import RECIPE, ids, of_cell, plan_of, with_method

from kdbench import data, methods
from kdbench.errors import MatrixError
from kdbench.matrix import DataSpec, RunSpec
from kdbench.methods.response.vanilla import Vanilla
from kdbench.plan import Plan, batches_key
from kdbench.results import MatrixIndex, Training


def test_baselines_are_always_included() -> None:
    plan = plan_of()
    assert [(cell.kind, cell.label, len(cell.runs)) for cell in plan.cells] == [
        ("teacher", "teacher", 1),
        ("scratch", "scratch", 2),
    ]
    assert [(run.student.name, run.method, run.seed) for run in plan.runs] == [
        ("cnn_8_16", "scratch", 0),
        ("mlp_16", "scratch", 0),
        ("mlp_16", "scratch", 1),
    ]


def test_runs_are_sorted_by_teachers_then_seeds() -> None:
    plan = plan_of(methods={"vanilla": {"alpha": [0.1, 0.9]}, "dml": {}}, seeds=[0, 1, 2])
    assert [run.student.name for run in plan.runs].index("cnn_8_16") == 0
    seeds = [run.seed for run in plan.runs if run.student.name == "mlp_16"]
    assert seeds == sorted(seeds)
    assert Counter(seeds) == dict.fromkeys((0, 1, 2), 4)


SAME = {
    "an integer for a float": ({"alpha": 1}, {"alpha": 1.0}),
    "the default given": ({}, {"alpha": 0.9, "temperature": 4.0}),
    "a sweep of one": ({"alpha": [0.5]}, {"alpha": 0.5}),
    "another order": ({"alpha": 0.5, "temperature": 2.0}, {"temperature": 2.0, "alpha": 0.5}),
}


@pytest.mark.parametrize(("one", "other"), SAME.values(), ids=SAME)
def test_the_same_configuration_is_the_same_run(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert ids(with_method("vanilla", **one), "vanilla") == ids(with_method("vanilla", **other), "vanilla")


def test_the_label_is_not_in_the_identity() -> None:
    assert ids(with_method("vanilla"), "vanilla") == ids(with_method("HKD", method="vanilla"), "HKD")


INDIFFERENT: dict[str, dict[str, Any]] = {
    "devices and workers": {"run": {"devices": "cpu", "workers": 1, "threads": 2}},
    "the matrix's name": {"name": "other"},
    "another seed beside": {"seeds": [0, 1, 2]},
    "another method beside": {"methods": {"vanilla": {}, "dml": {}}},
    "a default of the recipe": {"recipe": {**RECIPE, "optimizer": "sgd", "grad_clip_norm": None}},
    "an override that matches nothing": {"override": [{"when": {"student": "x"}, "set": {"recipe": {"epochs": 9}}}]},
}


@pytest.mark.parametrize("changes", INDIFFERENT.values(), ids=INDIFFERENT)
def test_keys_without_effect_on_training_change_no_id(changes: dict[str, Any]) -> None:
    before, after = with_method("vanilla"), plan_of(**{"methods": {"vanilla": {}}, **changes})
    assert {run.id for run in before.runs} <= {run.id for run in after.runs}


DIFFERENT: dict[str, dict[str, Any]] = {
    "epochs": {"recipe": {**RECIPE, "epochs": 3}},
    "the optimizer": {"recipe": {**RECIPE, "optimizer": {"name": "sgd", "lr": 0.2}}},
    "the precision": {"recipe": {**RECIPE, "precision": "bf16"}},
    "the split": {"protocol": {"split_seed": 1}},
    "the share of validation": {"protocol": {"validation": 0.2}},
    "the data": {"datasets": ["small"], "dataset": {"small": {"kind": "digits", "samples": 500}}},
}


@pytest.mark.parametrize("changes", DIFFERENT.values(), ids=DIFFERENT)
def test_keys_of_training_change_every_id(changes: dict[str, Any]) -> None:
    before, after = with_method("vanilla"), plan_of(**{"methods": {"vanilla": {}}, **changes})
    assert not {run.id for run in before.runs} & {run.id for run in after.runs}


def test_the_name_of_a_data_set_is_not_in_the_identity() -> None:
    own = plan_of(datasets=["mine"], dataset={"mine": {"kind": "digits"}})
    assert [run.id for run in own.runs] == [run.id for run in plan_of().runs]


@settings(max_examples=15)
@given(alpha=st.floats(0, 1), temperature=st.floats(0.5, 30), seed=st.integers(0, 2**31 - 1))
def test_a_planned_run_survives_a_round_trip(alpha: float, temperature: float, seed: int) -> None:
    plan = plan_of(methods={"vanilla": {"alpha": alpha, "temperature": temperature}}, seeds=[seed])
    for run in plan.runs:
        back = RunSpec.from_json(run.to_json())
        assert (back.id, back.cell, batches_key(back)) == (run.id, run.cell, batches_key(run))


def test_one_teacher_is_shared_by_all_seeds_and_methods() -> None:
    plan = plan_of(methods={"vanilla": {"alpha": [0.1, 0.9]}, "logit_mse": {}})
    taught = [run for run in plan.runs if run.teacher is not None]
    assert len(taught) == 6
    assert {run.teacher.id for run in taught if run.teacher} == set(ids(plan, "teacher")) == plan.teachers


def test_a_paired_teacher_has_the_seed_of_the_student() -> None:
    plan = plan_of(methods={"vanilla": {}}, protocol={"teacher_seed": "paired"})
    teachers = of_cell(plan, "teacher")
    assert sorted(teachers) == [0, 1]
    for seed, run in of_cell(plan, "vanilla").items():
        assert run.teacher is not None
        assert run.teacher.id == teachers[seed].id
        assert run.teacher.seed == seed


def test_only_seeds_share_a_cell() -> None:
    plan = plan_of(methods={"vanilla": {"alpha": [0.1, 0.9]}})
    assert len({run.cell for run in plan.runs}) == len(plan.cells) == 4


def test_born_again_needs_its_generations() -> None:
    plan = with_method("born_again", generations=2)
    for seed, last in of_cell(plan, "born_again").items():
        needs = dict(last.needs)
        first, zero = needs["teacher"], needs["teachers.0"]
        assert zero.id == of_cell(plan, "scratch")[seed].id == dict(first.needs)["teacher"].id
        assert first.parts[0].hyperparameters == {"generations": 1}
        places = [[run.id for run in plan.runs].index(run.id) for run in (zero, first, last)]
        assert places == sorted(places)
    assert len(plan.runs) == 1 + 2 * 3


def test_born_again_chains_share_generations() -> None:
    chain, short = with_method("born_again", generations=2), with_method("born_again", generations=1)
    assert set(ids(short, "born_again")) <= {run.id for run in chain.runs}


def test_dml_trains_with_the_teachers_architecture() -> None:
    for run in of_cell(with_method("dml"), "dml").values():
        assert [peer.name for peer in run.peers] == ["cnn_8_16"]
        assert run.needs == ()


def test_a_pair_names_its_peers() -> None:
    pair = {"teacher": "cnn_8_16", "student": "mlp_16", "peers": ["mlp_8", "cnn_4_8"]}
    plan = plan_of(pairs=[pair], methods={"dml": {}, "vanilla": {}})
    assert {tuple(p.name for p in run.peers) for run in of_cell(plan, "dml").values()} == {("mlp_8", "cnn_4_8")}
    assert all(run.peers == () for run in of_cell(plan, "vanilla").values())


def test_a_seed_is_excluded() -> None:
    plan = plan_of(methods={"vanilla": {}, "logit_mse": {}}, exclude=[{"method": "vanilla", "seed": 1}])
    assert list(of_cell(plan, "vanilla")) == [0]
    assert list(of_cell(plan, "logit_mse")) == [0, 1]
    assert plan.warnings == ()


def test_an_excluded_method_has_no_cell() -> None:
    plan = plan_of(methods={"vanilla": {}, "logit_mse": {}}, exclude=[{"method": "vanilla"}])
    assert [cell.label for cell in plan.cells] == ["teacher", "scratch", "logit_mse"]


def test_tables_without_effect_are_warnings() -> None:
    plan = plan_of(exclude=[{"method": "vanilla"}], network={"unused": {"factory": "a:b"}})
    assert plan.warnings == ("m.toml: network.unused: has no effect", "m.toml: exclude[0]: has no effect")


def test_pairs_with_the_same_student_share_its_scratch_runs() -> None:
    pairs = [{"teacher": teacher, "student": "mlp_16"} for teacher in ("cnn_8_16", "cnn_4_8", "mlp_32")]
    plan = plan_of(pairs=pairs)
    scratch = [cell for cell in plan.cells if cell.kind == "scratch"]
    assert len(scratch) == 3
    assert len({run.id for cell in scratch for run in cell.runs.values()}) == 2
    assert len(plan.runs) == 3 + 2


def test_an_incompatible_cell_has_a_reason() -> None:
    plan = plan_of(methods={"attention": {}, "vanilla": {}, "dml + vanilla": {}})
    reasons = {i.cell.label: i.reason for i in plan.incompatible}
    assert set(reasons) == {"attention", "dml + vanilla"}
    assert "needs stages with height and width, but the student has none" in reasons["attention"]
    assert reasons["dml + vanilla"].startswith("dml cannot be a part of a sum")
    assert {run.method for run in plan.runs} == {"scratch", "vanilla"}


TWO_CNNS = [{"teacher": "cnn_8_16", "student": "cnn_4_8"}]


def test_a_hyperparameter_that_does_not_count_is_no_part_of_a_run() -> None:
    plan = plan_of(pairs=TWO_CNNS, methods={"fitnets": {}, "two": {"method": "fitnets", "mode": "two_stage"}})
    joint, two = (of_cell(plan, label)[0] for label in ("fitnets", "two"))
    assert joint.hyperparameters == {"mode": "joint", "layer": "middle", "weight": 100.0}
    assert list(two.hyperparameters) == ["mode", "layer", "hint_weight", "share", "temperature"]
    assert [cell.hyperparameters for cell in plan.index().cells if cell.kind == "method"] == [
        joint.hyperparameters,
        two.hyperparameters,
    ]


@pytest.mark.parametrize("mode", ["joint", ["joint", "two_stage"]], ids=["fixed", "swept"])
def test_a_hyperparameter_that_does_not_count_is_refused(mode: str | list[str]) -> None:
    with pytest.raises(MatrixError) as caught:
        plan_of(pairs=TWO_CNNS, methods={"F": {"method": "fitnets", "mode": mode, "share": [0.25, 0.5]}})
    assert str(caught.value) == (
        "m.toml: methods.F: 'fitnets' does not use share = 0.25 with mode = 'joint'; share is active only with mode = "
        "'two_stage': remove share or set mode = 'two_stage'; to sweep over mode, write one label per value"
    )


def test_a_sweep_over_the_mode_takes_the_defaults_of_each() -> None:
    plan = plan_of(pairs=TWO_CNNS, methods={"F": {"method": "fitnets", "mode": ["joint", "two_stage"]}})
    first, second = [cell.hyperparameters for cell in plan.index().cells if cell.label == "F"]
    assert ("weight" in first, "weight" in second, "share" in first, "share" in second) == (True, False, False, True)


def test_scratch_and_self_distillation_use_no_teacher() -> None:
    plan = plan_of(methods={"S": {"method": "scratch", "label_smoothing": 0.1}, "snapshot": {}, "vanilla": {}})
    assert all(run.needs == () for label in ("scratch", "S", "snapshot") for run in of_cell(plan, label).values())
    assert all(run.teacher is not None for run in of_cell(plan, "vanilla").values())


def test_every_run_comes_after_those_that_it_needs() -> None:
    pairs = [{"teacher": "cnn_8_16", "student": "cnn_4_8"}]
    plan = plan_of(pairs=pairs, methods={name: {} for name in methods.METHODS if name != "scratch"})
    assert not plan.incompatible
    seen: set[str] = set()
    for run in plan.runs:
        assert {need.id for _, need in run.needs} <= seen
        seen.add(run.id)


def test_methods_of_a_seed_see_the_same_batches() -> None:
    recipe = {**RECIPE, "student": {"optimizer": {"name": "adam"}, "strong_augment": ["flip"]}}
    plan = plan_of(methods={"vanilla": {}, "dml": {}, "logit_mse": {}}, recipe=recipe)
    students = [run for run in plan.runs if run.stream == "student"]
    keys = {seed: {batches_key(run) for run in students if run.seed == seed} for seed in (0, 1)}
    assert [len(found) for found in keys.values()] == [1, 1]
    assert not keys[0] & keys[1]


def test_a_teacher_sees_other_batches_than_a_student_with_its_recipe_and_seed() -> None:
    plan = plan_of(pairs=[{"teacher": "mlp_16", "student": "mlp_16"}], methods={"vanilla": {}, "born_again": {}})
    (teacher,) = (run for run in plan.runs if run.stream == "teacher")
    assert teacher.recipe == of_cell(plan, "scratch")[0].recipe
    assert batches_key(teacher) not in {batches_key(run) for run in plan.runs if run.stream == "student"}


BATCHES: dict[str, Any] = {"epochs": 3, "batch_size": 16, "train_samples": 90, "augment": ["flip"]}


@pytest.mark.parametrize("key", BATCHES)
def test_another_recipe_gives_other_batches(key: str) -> None:
    before, after = plan_of().runs[1], plan_of(recipe={**RECIPE, key: BATCHES[key]}).runs[1]
    assert batches_key(before) != batches_key(after)


def test_a_method_with_two_views_has_other_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    two = type("Two", (Vanilla,), {"views": 2})
    monkeypatch.setitem(methods.METHODS, "two", two)
    plain = of_cell(with_method("vanilla"), "vanilla")[0]
    twice = replace(plain, parts=(replace(plain.parts[0], name="two"),))
    strong = replace(twice, recipe=plan_of(recipe={**RECIPE, "strong_augment": ["flip"]}).runs[0].recipe)
    assert len({batches_key(plain), batches_key(twice), batches_key(strong)}) == 3


def test_data_free_methods_have_other_batches() -> None:
    plan = plan_of(pairs=[{"teacher": "cnn_8_16", "student": "cnn_4_8"}], methods={"vanilla": {}, "zskt": {}})
    assert batches_key(of_cell(plan, "vanilla")[0]) != batches_key(of_cell(plan, "zskt")[0])


def test_the_index_of_a_plan() -> None:
    plan = plan_of(methods={"HKD": {"method": "vanilla", "alpha": [0.1, 0.9]}, "attention": {}})
    index = plan.index()
    assert (index.name, index.file, index.validation, index.track_test) == ("m", "m.toml", 0.1, False)
    assert [(cell.kind, cell.label, cell.method) for cell in index.cells] == [
        ("teacher", "teacher", "scratch"),
        ("scratch", "scratch", "scratch"),
        ("method", "HKD", "vanilla"),
        ("method", "HKD", "vanilla"),
    ]
    assert [cell.hyperparameters["alpha"] for cell in index.cells[2:]] == [0.1, 0.9]
    assert set(index.run_ids) == {run.id for run in plan.runs}
    assert [(i.label, i.runs) for i in index.incompatible] == [("attention", 2)]
    assert MatrixIndex.from_json(index.to_json()) == index


def trainings(plan: Plan) -> dict[str, Training]:
    index = plan.index()
    return {cell.label: index.trainings[cell.training] for cell in index.cells}


def test_the_index_has_what_each_cell_is_trained_on() -> None:
    recipe = {**RECIPE, "train_samples": None, "teacher": {"train_samples": 100, "epochs": 7}}
    recipe = {key: value for key, value in recipe.items() if value is not None}
    found = trainings(plan_of(recipe=recipe, methods={"vanilla": {}}, protocol={"validation": 0.2}))
    assert found["vanilla"] == found["scratch"]
    student, teacher = found["scratch"], found["teacher"]
    digits = data.load(DataSpec("digits", "digits"))
    assert student.available_images == student.train_images + student.validation_images == len(digits.train_labels)
    assert abs(student.validation_images - 0.2 * student.available_images) <= digits.num_classes / 2
    assert (teacher.train_images, teacher.validation_images) == (100, student.validation_images)
    assert student.test_images == teacher.test_images == len(digits.test_labels)
    assert (student.steps, teacher.steps) == (2 * (student.train_images // 32), 7 * 3)
    assert (student.recipe["epochs"], teacher.recipe["epochs"], student.recipe["precision"]) == (2, 7, "fp32")


def test_the_planned_steps_of_a_method_without_images() -> None:
    pairs = [{"teacher": "cnn_8_16", "student": "cnn_4_8"}]
    for extra, expected in ({}, 2 * 3), ({"steps_per_epoch": 50}, 2 * 50):
        found = trainings(plan_of(pairs=pairs, methods={"zskt": {}}, recipe={**RECIPE, **extra}))
        assert (found["zskt"].steps, found["scratch"].steps) == (expected, 2 * 3)


def test_the_index_has_the_teacher_of_each_seed() -> None:
    methods = {"vanilla": {}, "born_again": {}, "HKD": {"method": "vanilla"}}
    override = [{"when": {"method": "HKD"}, "set": {"recipe": {"teacher": {"epochs": 3}}}}]
    for teacher_seed, seeds in (0, ["0"]), ("paired", ["0", "1"]):
        plan = plan_of(methods=methods, override=override, protocol={"teacher_seed": teacher_seed})
        cells = {cell.label: cell for cell in plan.index().cells}
        assert list(cells["teacher"].runs) == list(cells["teacher of HKD"].runs) == seeds
        for label in ("scratch", "vanilla", "born_again", "HKD"):
            runs = cells["teacher of HKD" if label == "HKD" else "teacher"].runs
            assert cells[label].teachers == {seed: runs.get(seed, runs["0"]) for seed in ("0", "1")}
        assert not set(cells["teacher"].runs.values()) & set(cells["teacher of HKD"].runs.values())


def test_the_index_has_the_protocol() -> None:
    index = plan_of(seeds=[3, 1], protocol={"split_seed": 5, "teacher_seed": "paired"}).index()
    assert (index.seeds, index.split_seed, index.teacher_seed) == ((3, 1), 5, "paired")
    assert (index.search_seeds, index.refit, {cell.phase for cell in index.cells}) == ((), False, {"report"})


def test_the_baseline_is_the_plain_run_whatever_scratch_is_given() -> None:
    plain, plan = plan_of(), plan_of(methods={"scratch": {"label_smoothing": [0.1, 0.2, 0.9]}})
    cells = plan.index().cells
    assert [cell.runs for cell in cells if cell.kind == "scratch"] == [plain.index().cells[1].runs]
    others = [(cell.kind, cell.label, cell.hyperparameters) for cell in cells[2:]]
    assert others == [("method", "scratch", {"label_smoothing": smoothing}) for smoothing in (0.1, 0.2, 0.9)]


def test_the_digest_depends_on_the_inputs_of_the_plan() -> None:
    digest = with_method("vanilla").index().digest
    assert digest == plan_of(methods={"vanilla": {}}, run={"devices": "cpu"}).index().digest
    assert digest != with_method("vanilla", alpha=0.5).index().digest
