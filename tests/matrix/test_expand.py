from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kdbench.errors import MatrixError
from kdbench.matrix import Cell, Expansion, RunSpec

Expand = Callable[..., Expansion]
PAIR = {"teacher": "large", "student": "small"}


def kinds(expansion: Expansion) -> list[tuple[str, str]]:
    return [(cell.kind, cell.label) for cell in expansion.cells]


def of(expansion: Expansion, label: str) -> list[Cell]:
    return [cell for cell in expansion.cells if cell.label == label]


def teachers(cell: Cell) -> dict[int, RunSpec | None]:
    return {seed: run.teacher for seed, run in cell.runs.items()}


def ids_by_seed(runs: Mapping[int, RunSpec]) -> dict[int, str]:
    return {seed: run.id for seed, run in runs.items()}


def test_a_matrix_without_methods_has_the_baselines(expanded: Expand) -> None:
    teacher, scratch = expanded(seeds=[3, 1]).cells
    assert (teacher.kind, list(teacher.runs)) == ("teacher", [0])
    assert (scratch.kind, list(scratch.runs)) == ("scratch", [3, 1])
    assert teacher.runs[0].student.name == "large"
    assert {run.student.name for run in scratch.runs.values()} == {"small"}
    assert {run.method for cell in (teacher, scratch) for run in cell.runs.values()} == {"scratch"}
    assert all(run.needs == () for cell in (teacher, scratch) for run in cell.runs.values())


def test_the_order_of_cells(expanded: Expand) -> None:
    found = expanded(
        datasets=["letters", "digits"],
        pairs=[PAIR, {"teacher": "middle", "student": "tiny"}],
        methods={"vanilla": {"alpha": [0.1, 0.9]}, "triplet": {}},
    )
    block = [("teacher", "teacher"), ("scratch", "scratch"), *[("method", "vanilla")] * 2, ("method", "triplet")]
    assert kinds(found) == block * 4
    places = [(cell.dataset.name, cell.pair.student) for cell in found.cells]
    assert places[::5] == [("letters", "small"), ("letters", "tiny"), ("digits", "small"), ("digits", "tiny")]
    assert [
        run.parts[0].hyperparameters["alpha"] for cell in of(found, "vanilla")[:2] for run in cell.runs.values()
    ] == [
        0.1,
        0.9,
    ]


def test_all_seeds_share_a_fixed_teacher(expanded: Expand) -> None:
    found = expanded(seeds=[1, 2], protocol={"teacher_seed": 7}, methods={"vanilla": {}})
    (teacher,), (vanilla,) = of(found, "teacher"), of(found, "vanilla")
    assert list(teacher.runs) == [7]
    assert {run.id for run in teachers(vanilla).values() if run} == {teacher.runs[7].id}


def test_a_paired_teacher_has_the_students_seed(expanded: Expand) -> None:
    found = expanded(seeds=[1, 2], protocol={"teacher_seed": "paired"}, methods={"vanilla": {}})
    (teacher,), (vanilla,) = of(found, "teacher"), of(found, "vanilla")
    assert list(teacher.runs) == [1, 2]
    assert {seed: run.id for seed, run in teachers(vanilla).items() if run} == {
        seed: run.id for seed, run in teacher.runs.items()
    }


def test_a_teacher_is_the_scratch_run_of_its_network_with_another_stream(expanded: Expand) -> None:
    """Its initial weights and batches are not those of a student with the same network, recipe and seed."""
    found = expanded(pairs=[PAIR, {"teacher": "middle", "student": "large"}], methods={"vanilla": {}})
    teacher, student = of(found, "teacher")[0].runs[0], of(found, "scratch")[1].runs[0]
    assert replace(teacher, stream="student").id == student.id
    assert teacher.id != student.id
    assert teacher.stream_seed != student.stream_seed == student.seed


@pytest.mark.parametrize("teacher_seed", [0, "paired"])
def test_every_teacher_has_the_stream_of_teachers(expanded: Expand, teacher_seed: int | str) -> None:
    override = {"when": {"method": "triplet"}, "set": {"recipe": {"teacher": {"epochs": 7}}}}
    found = expanded(
        seeds=[0, 1],
        protocol={"teacher_seed": teacher_seed},
        methods={"vanilla": {}, "triplet": {}, "mutual": {}},
        override=[override],
    )
    assert {cell.label for cell in found.cells if cell.kind == "teacher"} == {"teacher", "teacher of triplet"}
    for cell in found.cells:
        assert {run.stream for run in cell.runs.values()} == {"teacher" if cell.kind == "teacher" else "student"}
        assert {run.stream for run in cell.teachers.values()} <= {"teacher"}
        assert {need.stream for run in cell.runs.values() for _, need in run.needs} <= {"teacher"}


def test_the_recipes_of_teacher_and_student(expanded: Expand) -> None:
    recipe = {
        "epochs": 9,
        "batch_size": 7,
        "teacher": {"epochs": 20},
        "student": {"batch_size": 5, "optimizer": "adam"},
    }
    found = expanded(recipe=recipe, methods={"vanilla": {}})
    teacher, scratch, vanilla = (cell.runs[0].recipe for cell in found.cells)
    assert (teacher.epochs, teacher.batch_size, teacher.optimizer.name) == (20, 7, "sgd")
    assert (scratch.epochs, scratch.batch_size, scratch.optimizer.name) == (9, 5, "adam")
    assert vanilla == scratch
    assert teachers(found.cells[2])[0].recipe == teacher
    assert {teacher.precision, scratch.precision} == {"fp32"}


def epochs(expansion: Expansion) -> list[tuple[int, int | None]]:
    """Of every cell: the epochs of its first run and of that run's teacher."""
    first = [cell.first for cell in expansion.cells if not cell.label.startswith("teacher of")]
    return [(run.recipe.epochs, run.teacher.recipe.epochs if run.teacher else None) for run in first]


@pytest.mark.parametrize(
    ("when", "change", "expected"),
    [
        ({}, {"epochs": 3}, [(3, None), (3, None), (3, 3), (3, 3)]),
        ({"dataset": "digits"}, {"epochs": 3}, [(3, None), (3, None), (3, 3), (3, 3)]),
        ({"teacher": "large"}, {"epochs": 3}, [(3, None), (3, None), (3, 3), (3, 3)]),
        ({"student": "small"}, {"epochs": 3}, [(9, None), (3, None), (3, 9), (3, 9)]),
        ({"method": "vanilla"}, {"epochs": 3}, [(9, None), (9, None), (3, 9), (9, 9)]),
        ({"method": "scratch"}, {"epochs": 3}, [(9, None), (3, None), (9, 9), (9, 9)]),
        ({"dataset": "digits"}, {"teacher": {"epochs": 3}}, [(3, None), (9, None), (9, 3), (9, 3)]),
        ({"dataset": "digits"}, {"student": {"epochs": 3}}, [(9, None), (3, None), (3, 9), (3, 9)]),
        ({"method": "vanilla"}, {"teacher": {"epochs": 3}}, [(9, None), (9, None), (9, 3), (9, 9)]),
        ({"student": "small"}, {"teacher": {"epochs": 3}}, [(3, None), (9, None), (9, 3), (9, 3)]),
    ],
)
def test_what_an_override_of_the_recipe_changes(
    expanded: Expand, when: dict[str, Any], change: dict[str, Any], expected: list[tuple[int, int | None]]
) -> None:
    found = expanded(
        recipe={"epochs": 9},
        methods={"HKD": {"method": "vanilla"}, "triplet": {}},
        override=[{"when": when, "set": {"recipe": change}}],
    )
    assert [kind for kind in kinds(found) if kind[0] == "method"] == [("method", "HKD"), ("method", "triplet")]
    assert epochs(found) == expected
    assert found.warnings == ()


def test_a_teacher_that_a_label_has_for_itself_is_a_cell(expanded: Expand) -> None:
    found = expanded(
        seeds=[1, 2],
        protocol={"teacher_seed": "paired"},
        methods={"HKD": {"method": "vanilla"}, "triplet": {}},
        override=[{"when": {"method": "HKD"}, "set": {"recipe": {"teacher": {"epochs": 3}}}}],
    )
    labels = ["teacher", "scratch", "teacher of HKD", "HKD", "triplet"]
    assert [cell.label for cell in found.cells] == labels
    shared, scratch, own, hkd, triplet = found.cells
    assert (own.kind, own.first.recipe.epochs, list(own.runs)) == ("teacher", 3, [1, 2])
    assert ids_by_seed(hkd.teachers) == ids_by_seed(own.runs) == {s: run.id for s, run in teachers(hkd).items() if run}
    assert ids_by_seed(triplet.teachers) == ids_by_seed(scratch.teachers) == ids_by_seed(shared.runs)


def test_a_label_has_teachers_of_its_own_for_its_own_seeds(expanded: Expand) -> None:
    found = expanded(
        seeds=[1, 2, 3],
        protocol={"teacher_seed": "paired"},
        methods={"HKD": {"method": "vanilla"}},
        override=[{"when": {"method": "HKD"}, "set": {"recipe": {"teacher": {"epochs": 3}}}}],
        exclude=[{"method": "HKD", "seed": 2}],
    )
    assert [(cell.label, list(cell.runs)) for cell in found.cells if cell.kind == "teacher"] == [
        ("teacher", [1, 2, 3]),
        ("teacher of HKD", [1, 3]),
    ]


def test_the_recipe_of_the_pair_makes_no_teacher_of_a_label_also_with_fewer_seeds(expanded: Expand) -> None:
    found = expanded(
        seeds=[1, 2],
        recipe={"epochs": 3},
        protocol={"teacher_seed": "paired"},
        methods={"HKD": {"method": "vanilla"}},
        override=[{"when": {"method": "HKD"}, "set": {"recipe": {"teacher": {"epochs": 3}}}}],
        exclude=[{"method": "HKD", "seed": 2}],
    )
    assert [cell.label for cell in found.cells] == ["teacher", "scratch", "HKD"]


@pytest.mark.parametrize(
    ("label", "change"), [("mutual", {"epochs": 3}), ("HKD", {"epochs": 9})], ids=["reads no teacher", "equal recipe"]
)
def test_a_label_without_a_teacher_of_its_own_has_that_of_the_pair(
    expanded: Expand, label: str, change: dict[str, int]
) -> None:
    found = expanded(
        recipe={"epochs": 9},
        methods={"HKD": {"method": "vanilla"}, "mutual": {}},
        override=[{"when": {"method": label}, "set": {"recipe": {"teacher": change}}}],
    )
    assert [cell.label for cell in found.cells] == ["teacher", "scratch", "HKD", "mutual"]
    assert all(ids_by_seed(cell.teachers) == {0: found.cells[0].first.id} for cell in found.cells[1:])


def test_the_last_override_wins_and_tables_merge(expanded: Expand) -> None:
    found = expanded(
        recipe={"optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.5}},
        override=[
            {"when": {}, "set": {"recipe": {"epochs": 3, "optimizer": {"lr": 0.2}}}},
            {"when": {"student": "small"}, "set": {"recipe": {"epochs": 4}}},
        ],
    )
    recipe = of(found, "scratch")[0].runs[0].recipe
    assert (recipe.epochs, recipe.optimizer.lr, recipe.optimizer.momentum) == (4, 0.2, 0.5)


def test_an_override_of_a_methods_keys(expanded: Expand) -> None:
    found = expanded(
        datasets=["digits", "letters"],
        methods={"HKD": {"method": "vanilla", "alpha": [0.1, 0.5]}, "vanilla": {}},
        override=[{"when": {"dataset": "letters"}, "set": {"methods": {"HKD": {"alpha": 0.9, "temperature": [2, 3]}}}}],
    )
    found_configurations = [
        tuple(cell.runs[0].hyperparameters.values()) for cell in found.cells if cell.kind == "method"
    ]
    assert found_configurations == [(0.1, 4.0), (0.5, 4.0), (0.9, 4.0), (0.9, 2), (0.9, 3), (0.9, 4.0)]


@pytest.mark.parametrize(
    ("rule", "left"),
    [
        ({"method": "HKD"}, {"vanilla": [0, 1], "triplet": [0, 1]}),
        ({"method": "vanilla"}, {"triplet": [0, 1]}),
        ({"method": ["HKD", "triplet"]}, {"vanilla": [0, 1]}),
        ({"seed": 1}, {"HKD": [0], "vanilla": [0], "triplet": [0]}),
        ({"method": "triplet", "seed": [0, 1]}, {"HKD": [0, 1], "vanilla": [0, 1]}),
        ({"method": "triplet", "seed": [0]}, {"HKD": [0, 1], "vanilla": [0, 1], "triplet": [1]}),
        ({"student": "small", "method": ["HKD", "vanilla", "triplet"]}, {}),
    ],
)
def test_an_exclude_of_a_method_keeps_the_baselines(
    expanded: Expand, rule: dict[str, Any], left: dict[str, list[int]]
) -> None:
    found = expanded(
        seeds=[0, 1],
        methods={"HKD": {"method": "vanilla"}, "vanilla": {}, "triplet": {}},
        exclude=[rule | {"why": "too slow"}],
    )
    assert kinds(found)[:2] == [("teacher", "teacher"), ("scratch", "scratch")]
    assert [list(cell.runs) for cell in found.cells[:2]] == [[0], [0, 1]]
    assert {cell.label: list(cell.runs) for cell in found.cells[2:]} == left
    excluded = {(e.label, seed, e.why) for e in found.excluded for seed in e.seeds}
    assert excluded == {(x, s, "too slow") for x in ("HKD", "vanilla", "triplet") for s in {0, 1} - {*left.get(x, ())}}
    assert found.warnings == ()


@pytest.mark.parametrize("rule", [{"dataset": "letters"}, {"dataset": "letters", "student": "small"}])
def test_an_excluded_pair_has_no_baselines(expanded: Expand, rule: dict[str, Any]) -> None:
    pairs = [{"teacher": "large", "student": "small"}, {"teacher": "large", "student": "large"}]
    tables = {"datasets": ["digits", "letters"], "pairs": pairs, "methods": {"vanilla": {}, "triplet": {}}}
    found, complete = expanded(**tables, exclude=[rule | {"why": "too slow"}]), expanded(**tables)
    excluded = {("letters", "small")} | ({("letters", "large")} if "student" not in rule else set())
    left = [(c.dataset.name, c.pair.student, c.label) for c in complete.cells]
    assert [(c.dataset.name, c.pair.student, c.label) for c in found.cells] == [
        x for x in left if x[:2] not in excluded
    ]
    assert {(e.label, e.dataset, e.pair.student, e.why) for e in found.excluded} == {
        ("everything", *key, "too slow") for key in excluded
    }
    assert found.warnings == ()


def test_rules_without_effect_are_warnings(expanded: Expand) -> None:
    found = expanded(
        methods={"vanilla": {}},
        dataset={"digist": {"resize": 8}, "digits": {"resize": 8}},
        network={"mine": {"factory": "a:b"}},
        exclude=[{"method": "vanila"}, {"seed": 0}, {"method": "vanilla", "seed": 5}, {"method": "teacher"}],
        override=[
            {"when": {"dataset": "cifar"}, "set": {"recipe": {"epochs": 1}}},
            {"when": {"student": "small"}, "set": {"recipe": {"epochs": 1}}},
            {"when": {"method": "teacher"}, "set": {"recipe": {"epochs": 1}}},
        ],
    )
    silent = ["dataset.digist", "network.mine", "exclude[0]", "exclude[2]", "exclude[3]", "override[0]", "override[2]"]
    assert found.warnings == tuple(f"m.toml: {key}: has no effect" for key in silent)


def test_scratch_with_label_smoothing_is_another_cell(expanded: Expand) -> None:
    found = expanded(methods={"scratch": {"label_smoothing": [0.0, 0.1]}})
    assert kinds(found) == [("teacher", "teacher"), ("scratch", "scratch"), ("method", "scratch")]
    assert [cell.runs[0].hyperparameters for cell in found.cells[1:]] == [
        {"label_smoothing": 0.0},
        {"label_smoothing": 0.1},
    ]
    assert kinds(expanded(methods={"scratch": {}})) == [("teacher", "teacher"), ("scratch", "scratch")]


def test_scratch_under_another_label_is_a_method(expanded: Expand) -> None:
    found = expanded(methods={"smooth": {"method": "scratch", "label_smoothing": 0.1}})
    assert kinds(found)[2:] == [("method", "smooth")]
    assert found.cells[2].runs[0].needs == ()


def test_peers_default_to_the_architecture_of_the_teacher(expanded: Expand) -> None:
    found = expanded(
        pairs=[PAIR, PAIR | {"peers": ["tiny", "middle"]}],
        methods={"mutual": {}, "vanilla": {}, "mutual + vanilla": {}},
    )
    peers = [[peer.name for peer in cell.runs[0].peers] for cell in found.cells if cell.kind == "method"]
    assert peers == [["large"], [], ["large"], ["tiny", "middle"], [], ["tiny", "middle"]]
    assert {len(cell.runs[0].peers) for cell in found.cells if cell.kind != "method"} == {0}


def test_your_own_data_set_and_network(expanded: Expand) -> None:
    found = expanded(
        datasets=["land", "digits"],
        dataset={"land": {"kind": "letters", "root": "data/land"}, "digits": {"resize": 8}},
        pairs=[{"teacher": "mine", "student": "small"}],
        network={"mine": {"factory": "nets:make", "depth": 3}},
    )
    land, digits = found.cells[0].dataset, found.cells[2].dataset
    assert (land.name, land.kind, land.options) == ("land", "letters", {"root": "data/land"})
    assert (digits.name, digits.kind, digits.options) == ("digits", "digits", {"resize": 8})
    assert land.fingerprint == "letters ['root']"
    mine = found.cells[0].runs[0].student
    assert (mine.name, mine.factory, mine.options, mine.source) == ("mine", "nets:make", {"depth": 3}, "0123")


def test_a_sum_is_one_cell_a_configuration(expanded: Expand) -> None:
    found = expanded(methods={"T + HKD": {"method": ["triplet", "vanilla"], "vanilla": {"alpha": [0.1, 0.9]}}})
    sums = of(found, "T + HKD")
    assert [cell.runs[0].method for cell in sums] == ["triplet + vanilla"] * 2
    assert sums[1].runs[0].hyperparameters == {"triplet.margin": 1.0, "vanilla.alpha": 0.9, "vanilla.temperature": 4.0}


LEAVES = (
    st.none() | st.booleans() | st.integers(-3, 2**66) | st.floats() | st.text(max_size=4) | st.just(date(2026, 1, 1))
)
NAMES = st.sampled_from(
    ["digits", "letters", "large", "small", "vanilla", "triplet", "layers", "mutual", "sgd", "adam"]
)
KEYS = st.sampled_from(
    [
        "method",
        "zip",
        "alpha",
        "at",
        "vanilla",
        "triplet",
        "name",
        "lr",
        "epochs",
        "teacher",
        "student",
        "optimizer",
        "recipe",
    ]
)
DATA = st.recursive(
    LEAVES | NAMES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS | NAMES | st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
NETWORKS = st.sampled_from(["large", "small", "mine"])
TABLE = st.dictionaries(KEYS | st.text(max_size=3), DATA, max_size=3)
LABELS = st.sampled_from(["vanilla", "vanilla + triplet", "scratch", "x", "layers", " + "])
WHEN = st.dictionaries(st.sampled_from(["dataset", "teacher", "student", "method"]), NAMES, max_size=1)
SEED = st.integers(0, 3)
PROTOCOL = st.fixed_dictionaries(
    {},
    optional={
        "search_seeds": st.lists(SEED, max_size=2),
        "refit": st.booleans(),
        "validation": st.sampled_from([0.0, 0.1]),
        "split_seed": SEED | st.just("paired"),
        "teacher_seed": SEED | st.just("paired"),
    },
)
TABLES = st.fixed_dictionaries(
    {},
    optional={
        "datasets": st.lists(st.sampled_from(["digits", "letters"]), min_size=1, max_size=2),
        "pairs": st.lists(st.fixed_dictionaries({"teacher": NETWORKS, "student": NETWORKS}), min_size=1, max_size=2),
        "recipe": TABLE,
        "seeds": st.lists(st.integers(0, 3), min_size=1, max_size=2),
        "protocol": PROTOCOL,
        "methods": st.dictionaries(LABELS, TABLE, max_size=2),
        "dataset": st.dictionaries(NAMES, TABLE, max_size=1),
        "network": st.dictionaries(NETWORKS, TABLE | st.just({"factory": "a:b"}), max_size=1),
        "exclude": st.lists(WHEN, max_size=2),
        "override": st.lists(
            st.fixed_dictionaries(
                {
                    "when": WHEN,
                    "set": st.dictionaries(st.just("recipe"), TABLE, min_size=1)
                    | st.fixed_dictionaries({"methods": st.dictionaries(LABELS, DATA, max_size=1)}),
                }
            ),
            max_size=2,
        ),
    },
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(TABLES)
def test_any_matrix_gives_runs_or_a_matrix_error(expanded: Expand, tables: dict[str, Any]) -> None:
    found = outcome(expanded, tables)
    if isinstance(found, str):
        assert found.startswith("m.toml: ")
        return
    runs = [run for cell in found.cells for run in cell.runs.values()]
    assert {RunSpec.from_json(run.to_json()).id for run in runs} == {run.id for run in runs}
    assert [(cell.kind, cell.phase) for cell in found.cells][:1] in ([("teacher", "report")], [])
    searched = [run for cell in found.cells if cell.phase == "search" for run in cell.runs.values()]
    assert all(run.split.validation > 0 for run in searched)


def outcome(expanded: Expand, tables: dict[str, Any]) -> Expansion | str:
    """The expansion, or the error's text; any other exception passes through."""
    try:
        return expanded(**tables)
    except MatrixError as error:
        return str(error)


TRAINED = {"network": {"big": {"architecture": "large", "weights": "w"}}}
BIG = {**TRAINED, "pairs": [{"teacher": "big", "student": "small"}]}


@pytest.mark.parametrize(
    "tables",
    [
        {"recipe": {"epochs": 9, "teacher": {"epochs": 0}}},
        {"recipe": {"epochs": 9}, "override": [{"when": {}, "set": {"recipe": {"teacher": {"epochs": 0}}}}]},
    ],
)
def test_a_teacher_with_weights_can_be_used_as_it_is(
    expanded: Callable[..., Expansion], tables: dict[str, Any]
) -> None:
    found = expanded(**BIG, methods={"vanilla": {}}, **tables)
    assert epochs(found) == [(0, None), (9, None), (9, 0)]
    teacher = found.cells[0].runs[0].student
    assert (teacher.name, teacher.known_as, teacher.weights, teacher.start) == ("big", "large", "w", "content of w")


def test_random_weights_must_train(expanded: Callable[..., Expansion]) -> None:
    with pytest.raises(
        MatrixError,
        match=r"recipe\.epochs: must be at least 1 for 'large' on digits, whose initial weights are random, got 0",
    ):
        expanded(recipe={"teacher": {"epochs": 0}})


def test_a_method_must_train(expanded: Callable[..., Expansion]) -> None:
    pair = [{"teacher": "large", "student": "big"}]
    with pytest.raises(MatrixError, match=r"must be at least 1 for 'big' on digits, which 'vanilla' trains, got 0"):
        expanded(**TRAINED, pairs=pair, methods={"vanilla": {}}, recipe={"student": {"epochs": 0}})
