"""The search, with a fake queue that gives runs a validation score and, by default, no test score."""

import os
from pathlib import Path
from typing import Any

import pytest

from kdbench import methods
from kdbench.errors import KdbenchError, MatrixError, MethodError, ResultsError
from kdbench.events import Event, EventHandler, RunDone
from kdbench.hyperparameters import declared
from kdbench.matrix import MatrixSpec, parse
from kdbench.plan import Plan
from kdbench.results import Store
from kdbench.tuning import tune

RECIPE = {"epochs": 1, "train_samples": 100, "batch_size": 32, "precision": "fp32"}


def matrix(**changes: Any) -> MatrixSpec:
    raw: dict[str, Any] = {
        "name": "base",
        "seeds": [0, 1],
        "datasets": ["digits"],
        "pairs": [{"teacher": "cnn_4_8", "student": "mlp_16"}],
        "recipe": RECIPE,
        "protocol": {"validation": 0.2},
    }
    return parse({**raw, **changes}, "base.toml")


def on_plan(plan: Plan) -> EventHandler:
    known = {run.id for run in plan.runs}

    def handle(event: Event) -> None:
        assert isinstance(event, RunDone)
        assert event.run in known

    return handle


def configurations(queue: Any, *names: str) -> list[tuple[Any, ...]]:
    """Return the trained configurations, in their order."""
    distilled = [run for run in queue.trained if run.method != "scratch" and run.seed == 0]
    return [tuple(run.hyperparameters[name] for name in names) for run in distilled]


def test_the_defaults_come_first(queue: Any, store: Store) -> None:
    result = tune("vanilla", matrix(), 3, store, on_plan)
    tried = configurations(queue, "alpha", "temperature")
    assert tried[0] == (0.9, 4.0)
    assert len(set(tried)) == 3
    assert result.default.configuration == {"alpha": 0.9, "temperature": 4.0}
    assert result.default.score == pytest.approx(0.5)


def test_every_value_is_in_its_range(queue: Any, store: Store) -> None:
    tune("vanilla", matrix(), 9, store, on_plan)
    assert all(0.05 <= alpha <= 0.95 and 1 <= t <= 20 for alpha, t in configurations(queue, "alpha", "temperature"))


def test_the_best_has_the_highest_mean_validation_accuracy(queue: Any, store: Store) -> None:
    result = tune("vanilla", matrix(), 6, store, on_plan)
    nearest = min(configurations(queue, "alpha", "temperature"), key=lambda configuration: abs(configuration[0] - 0.5))
    assert (result.best.configuration["alpha"], result.best.configuration["temperature"]) == nearest
    assert result.best.score == pytest.approx(0.9 - abs(nearest[0] - 0.5))
    assert (len(result.trials), result.num_failed) == (6, 0)


def test_every_seed_of_a_configuration_is_trained(queue: Any, store: Store) -> None:
    tune("vanilla", matrix(seeds=[0, 1, 2]), 2, store, on_plan)
    distilled = [run for run in queue.trained if run.method == "vanilla"]
    assert sorted(run.seed for run in distilled) == [0, 0, 1, 1, 2, 2]


def test_test_scores_are_not_read(queue: Any, store: Store, tmp_path: Path) -> None:
    without = tune("vanilla", matrix(), 6, store, on_plan)
    queue.test_score = lambda score: 1 - score
    assert tune("vanilla", matrix(), 6, Store(tmp_path / "other"), on_plan) == without


def test_four_configurations_train_side_by_side(queue: Any, store: Store) -> None:
    tune("vanilla", matrix(), 6, store, on_plan)
    cells = [sum(cell.kind == "method" for cell in plan.cells) for plan in queue.plans]
    assert cells == [4, 6]


def test_the_journal_is_in_the_results_folder(queue: Any, store: Store) -> None:
    result = tune("vanilla", matrix(), 2, store, on_plan)
    (journal,) = (store.root / "tuning").iterdir()
    assert journal.name == f"{result.matrix}.journal"


def test_trials_are_in_the_results_under_their_matrix(queue: Any, store: Store) -> None:
    result = tune("vanilla", matrix(), 3, store, on_plan)
    index = store.index(result.matrix)
    assert index is not None
    assert result.matrix.startswith("tune-vanilla-")
    assert [cell.label for cell in index.cells] == ["teacher", "scratch", "vanilla", "vanilla", "vanilla"]
    assert set(index.run_ids) == {run.id for run in queue.trained}


def test_a_resumed_study_reuses_the_earlier_trials(queue: Any, store: Store) -> None:
    first = tune("vanilla", matrix(), 3, store, on_plan)
    done = {run.id for run in queue.trained}
    second = tune("vanilla", matrix(run={"workers": 1}, methods={"dml": {}}), 5, store, on_plan)
    assert second.matrix == first.matrix
    assert len(second.trials) == 5
    assert second.best.score >= first.best.score
    assert len({run.id for run in queue.trained} - done) == 2 * 2
    assert len(queue.trained) == len({run.id for run in queue.trained})


def test_no_more_trials_than_before_train_nothing(queue: Any, store: Store) -> None:
    first = tune("vanilla", matrix(), 3, store, on_plan)
    planned = len(queue.plans)
    assert tune("vanilla", matrix(), 3, store, on_plan) == first
    assert tune("vanilla", matrix(), 2, store, on_plan) == first
    assert len(queue.plans) == planned


def test_interrupted_trials_are_resumed(queue: Any, store: Store) -> None:
    queue.interrupt = True
    with pytest.raises(KeyboardInterrupt):
        tune("vanilla", matrix(), 3, store, on_plan)
    queue.interrupt = False
    assert len(tune("vanilla", matrix(), 3, store, on_plan).trials) == 3
    begun, finished = (sorted(run.id for run in plan.runs) for plan in queue.plans)
    assert begun == finished


def test_another_matrix_is_another_study(queue: Any, store: Store) -> None:
    first = tune("vanilla", matrix(), 2, store, on_plan)
    second = tune("vanilla", matrix(seeds=[0]), 2, store, on_plan)
    assert first.matrix != second.matrix
    assert len(list((store.root / "tuning").iterdir())) == 2


def test_a_trial_with_a_failed_run_is_counted(queue: Any, store: Store) -> None:
    score = queue.score
    queue.score = lambda run: None if run.seed == 1 and run.hyperparameters.get("alpha") == 0.9 else score(run)
    result = tune("vanilla", matrix(), 4, store, on_plan)
    assert (len(result.trials), result.num_failed) == (4, 1)
    assert (result.default.num_failed, result.default.scores.keys()) == (1, {0})
    assert result.best.configuration["alpha"] != 0.9


def test_a_failed_trial_is_not_repeated(queue: Any, store: Store) -> None:
    score = queue.score
    queue.score = lambda run: None if run.hyperparameters.get("alpha") == 0.9 else score(run)
    tune("vanilla", matrix(), 3, store, on_plan)
    trained = len(queue.trained)
    assert tune("vanilla", matrix(), 3, store, on_plan).num_failed == 1
    assert len(queue.trained) == trained


def test_an_error_if_all_trials_fail(queue: Any, store: Store) -> None:
    queue.score = lambda run: 0.5 if run.method == "scratch" else None
    with pytest.raises(MethodError, match=r"all 2 trials of 'vanilla' failed; `kdbench report tune-vanilla-"):
        tune("vanilla", matrix(), 2, store, on_plan)


def test_a_sum_is_searched_over_all_its_parts(queue: Any, store: Store) -> None:
    result = tune("vanilla + rkd_da", matrix(), 2, store, on_plan)
    keys = ("vanilla.alpha", "vanilla.temperature", "rkd_da.distance_weight", "rkd_da.angle_weight")
    assert set(result.best.configuration) == set(result.default.configuration) == set(keys)
    assert configurations(queue, *keys)[0] == tuple(result.default.configuration[key] for key in keys)


def test_the_baseline_itself_can_be_tuned(queue: Any, store: Store) -> None:
    queue.score = lambda run: 0.5 + float(run.hyperparameters["label_smoothing"])
    result = tune("scratch", matrix(), 3, store, on_plan)
    assert result.default.score == 0.5
    assert result.best.score == pytest.approx(0.5 + result.best.configuration["label_smoothing"])


def test_a_repeated_configuration_is_trained_once(queue: Any, store: Store, custom_methods: None) -> None:
    queue.score = lambda run: 0.1 * run.hyperparameters.get("depth", 0)
    result = tune("depth", matrix(), 6, store, on_plan)
    assert len(result.trials) == 6
    assert result.best.configuration == {"depth": 2}
    assert sorted(configurations(queue, "depth")) == [(1,), (2,)]


def test_a_hyperparameter_without_default_is_searched(queue: Any, store: Store, custom_methods: None) -> None:
    queue.score = lambda run: float(run.hyperparameters.get("weight", 0)) / 2
    result = tune("no_default", matrix(), 3, store, on_plan)
    assert result.best.configuration["weight"] == 2 * (result.best.score or 0)
    assert (result.default.configuration, result.default.score) == ({}, None)


def test_a_default_that_is_not_part_of_the_identity_is_found(queue: Any, store: Store, custom_methods: None) -> None:
    queue.score = lambda run: 0.5 if run.method == "scratch" else 0.1 / float(run.hyperparameters.get("rate", 1))
    result = tune("later", matrix(), 3, store, on_plan)
    assert result.default.score == 0.1
    assert result.best.score == pytest.approx(0.1 / result.best.configuration["rate"])


def test_the_first_data_set_and_pair_are_used(queue: Any, store: Store) -> None:
    pairs = [{"teacher": "cnn_4_8", "student": "mlp_16"}, {"teacher": "cnn_8_16", "student": "mlp_8"}]
    tune("vanilla", matrix(pairs=pairs, methods={"dml": {}}, exclude=[{"method": "vanilla"}]), 1, store, on_plan)
    assert {run.student.name for run in queue.trained} == {"cnn_4_8", "mlp_16"}
    assert {run.method for run in queue.trained} == {"scratch", "vanilla"}


REFUSED: dict[str, tuple[str, dict[str, Any], type[KdbenchError], str]] = {
    "validation 0": ("vanilla", {"protocol": {"validation": 0}}, MatrixError, r"base\.toml: protocol\.validation is 0"),
    "no ranges": ("dml", {}, MethodError, "'dml' declares no range to search"),
    "an incompatible cell": (
        "attention",
        {},
        MethodError,
        "'attention' is incompatible with the pair: attention compares feature maps",
    ),
    "an unknown method": ("vanila", {}, MethodError, r"unknown method 'vanila'; did you mean 'vanilla'\?"),
    "an incompatible sum": ("vanilla + fitnets + dml", {}, MethodError, "is incompatible with the pair"),
}


@pytest.mark.parametrize(("method", "changes", "kind", "message"), REFUSED.values(), ids=REFUSED)
def test_errors(
    queue: Any, store: Store, method: str, changes: dict[str, Any], kind: type[KdbenchError], message: str
) -> None:
    with pytest.raises(kind, match=message):
        tune(method, matrix(**changes), 2, store, on_plan)
    assert queue.trained == []


@pytest.mark.parametrize("method", methods.METHODS)
def test_every_default_is_in_its_search_range(method: str) -> None:
    searched = [p for p in declared(methods.METHODS[method]).values() if p.tune is not None]
    outside = [p.name for p in searched if p.tune and not p.tune.low <= float(str(p.default)) <= p.tune.high]
    assert outside == []


def test_only_hyperparameters_of_the_default_mode_are_searched(queue: Any, store: Store) -> None:
    result = tune("fitnets", matrix(pairs=[{"teacher": "cnn_4_8", "student": "cnn_4_4"}]), 2, store, on_plan)
    assert result.default.configuration == {"weight": 100.0}
    assert result.best.configuration.keys() == {"weight"}


def test_the_search_seeds_of_a_matrix_are_those_of_the_trials(queue: Any, store: Store) -> None:
    protocol = {"validation": 0.2, "search_seeds": [100, 101, 102], "refit": True}
    tune("vanilla", matrix(protocol=protocol), 2, store, on_plan)
    distilled = [run for run in queue.trained if run.method == "vanilla"]
    assert {run.seed for run in distilled} == {100, 101, 102}
    assert {run.split.validation for run in queue.trained} == {0.2}


def distilled(queue: Any, method: str) -> list[Any]:
    return [run for run in queue.trained if run.method == method]


def values_of(queue: Any, method: str, name: str) -> set[Any]:
    return {run.hyperparameters[name] for run in distilled(queue, method)}


def test_the_fixed_values_of_a_label_are_in_every_trial(queue: Any, store: Store) -> None:
    """The paper's triplet loss compares logits; the default compares probabilities."""
    fixed = {"on": "logits", "squared": False, "margin": 5.0}
    result = tune("triplet", matrix(methods={"triplet": fixed}), 3, store, on_plan)
    for name, value in fixed.items():
        assert values_of(queue, "triplet", name) == {value}
    assert [trial.configuration.keys() for trial in result.trials] == [{"weight"}] * 3
    assert len(values_of(queue, "triplet", "weight")) == 3
    assert result.table == {**fixed, "weight": result.best.configuration["weight"]}


def test_the_fixed_values_of_a_sum_are_in_every_trial(queue: Any, store: Store) -> None:
    table = {"method": ["triplet", "vanilla"], "triplet": {"on": "logits"}, "vanilla": {"temperature": 4.0}}
    result = tune("mine", matrix(methods={"mine": table}), 2, store, on_plan)
    assert values_of(queue, "triplet + vanilla", "triplet.on") == {"logits"}
    assert values_of(queue, "triplet + vanilla", "vanilla.temperature") == {4.0}
    assert result.best.configuration.keys() == {"triplet.weight", "triplet.margin", "vanilla.alpha"}
    assert result.table["method"] == ["triplet", "vanilla"]
    assert result.table["triplet"]["on"] == "logits"


@pytest.mark.parametrize("spaced", ["triplet+vanilla", "triplet + vanilla"])
def test_a_sum_finds_its_table_however_it_is_spaced(queue: Any, store: Store, spaced: str) -> None:
    tune("triplet +vanilla", matrix(methods={spaced: {"triplet": {"on": "logits"}}}), 1, store, on_plan)
    assert values_of(queue, "triplet + vanilla", "triplet.on") == {"logits"}


def test_overrides_of_the_pair_are_fixed_too(queue: Any, store: Store) -> None:
    override = [
        {"when": {"student": "mlp_16"}, "set": {"methods": {"triplet": {"on": "logits", "margin": 5.0}}}},
        {"when": {"student": "another"}, "set": {"methods": {"triplet": {"weight": 7.0}}}},
        {"when": {"method": "triplet"}, "set": {"recipe": {"epochs": 2}}},
        {"when": {"dataset": "digits"}, "set": {"methods": {"dml": {}}}},
    ]
    base = matrix(methods={"triplet": {"margin": [1.0, 2.0]}, "dml": {}}, override=override)
    result = tune("triplet", base, 2, store, on_plan)
    assert values_of(queue, "triplet", "on") == {"logits"}
    assert values_of(queue, "triplet", "margin") == {5.0}
    assert {run.recipe.epochs for run in distilled(queue, "triplet")} == {2}
    assert result.best.configuration.keys() == {"weight"}


def test_a_list_is_searched_in_its_range_or_else_among_its_values(queue: Any, store: Store) -> None:
    lists = {"margin": [1.0, 2.0], "squared": [True, False], "on": ["logits", "probabilities"]}
    tune("triplet", matrix(methods={"triplet": lists}), 8, store, on_plan)
    margins = values_of(queue, "triplet", "margin")
    assert len(margins) > 2
    assert all(0.1 <= margin <= 10 for margin in margins)
    assert values_of(queue, "triplet", "squared") == {True, False}
    assert values_of(queue, "triplet", "on") == {"logits", "probabilities"}
    first = distilled(queue, "triplet")[0].hyperparameters
    assert (first["squared"], first["on"]) == (True, "probabilities"), "the defaults come first"


def test_lists_of_the_recipe_are_searched_among_their_values(queue: Any, store: Store) -> None:
    table = {"alpha": 0.5, "temperature": 4.0, "recipe": {"optimizer": {"lr": [0.01, 0.02]}, "grad_clip_norm": 1.0}}
    recipe = {**RECIPE, "optimizer": {"name": "sgd", "lr": 0.1}}
    result = tune("vanilla", matrix(methods={"vanilla": table}, recipe=recipe), 4, store, on_plan)
    trained = distilled(queue, "vanilla")
    assert {run.recipe.optimizer.lr for run in trained} == {0.01, 0.02}
    assert {run.recipe.grad_clip_norm for run in trained} == {1.0}
    assert result.best.configuration.keys() == {"recipe.optimizer.lr"}
    rate = result.best.configuration["recipe.optimizer.lr"]
    assert result.table["recipe"] == {"optimizer": {"lr": rate}, "grad_clip_norm": 1.0}
    scratch = distilled(queue, "scratch")
    assert {run.recipe.grad_clip_norm for run in scratch} == {None}


def test_a_recipe_that_all_labels_sweep_is_searched(queue: Any, store: Store) -> None:
    recipe = {
        **RECIPE,
        "student": {
            "optimizer": {"name": "sgd", "lr": [0.01, 0.02], "weight_decay": [0.0, 0.1]},
            "zip": [["optimizer.lr", "optimizer.weight_decay"]],
        },
    }
    base = matrix(recipe=recipe, methods={"vanilla": {"recipe": {"grad_clip_norm": 1.0}}})
    result = tune("vanilla", base, 5, store, on_plan)
    assert set(result.best.configuration) == {
        *("alpha", "temperature", "recipe.optimizer.lr", "recipe.optimizer.weight_decay")
    }
    assert {run.recipe.grad_clip_norm for run in distilled(queue, "vanilla")} == {1.0}


def test_hyperparameters_of_the_fixed_mode_are_searched(queue: Any, store: Store) -> None:
    pairs = [{"teacher": "cnn_4_8", "student": "cnn_4_4"}]
    base = matrix(pairs=pairs, methods={"fitnets": {"mode": "two_stage", "share": 0.2}})
    result = tune("fitnets", base, 2, store, on_plan)
    assert result.best.configuration.keys() == {"hint_weight", "temperature"}
    assert values_of(queue, "fitnets", "mode") == {"two_stage"}


def test_trials_differ_in_what_is_active_only(queue: Any, store: Store) -> None:
    pairs = [{"teacher": "cnn_4_8", "student": "cnn_4_4"}]
    tune("fitnets", matrix(pairs=pairs, methods={"fitnets": {"mode": "two_stage"}}), 3, store, on_plan)
    assert all("weight" not in run.hyperparameters for run in distilled(queue, "fitnets"))
    assert len({run.id for run in distilled(queue, "fitnets")}) == 3 * 2


STUDIES: dict[str, dict[str, Any]] = {
    "another fixed value": {"methods": {"triplet": {"on": "logits"}}},
    "another recipe of the label": {"methods": {"triplet": {"recipe": {"epochs": 3}}}},
    "another override": {
        "override": [{"when": {"student": "mlp_16"}, "set": {"methods": {"triplet": {"squared": False}}}}]
    },
    "other seeds": {"seeds": [0]},
    "search seeds": {"protocol": {"validation": 0.2, "search_seeds": [100]}},
    "another split": {"protocol": {"validation": 0.3}},
}


@pytest.mark.parametrize("changes", STUDIES.values(), ids=STUDIES)
def test_a_study_is_that_of_its_fixed_values(queue: Any, store: Store, changes: dict[str, Any]) -> None:
    base = {"methods": {"triplet": {}}}
    first = tune("triplet", matrix(**base), 1, store, on_plan)
    assert tune("triplet", matrix(**{**base, **changes}), 1, store, on_plan).matrix != first.matrix


def test_other_labels_and_data_sets_do_not_change_a_study(queue: Any, store: Store) -> None:
    first = tune("triplet", matrix(methods={"triplet": {"on": "logits"}}), 1, store, on_plan)
    methods_table = {"triplet": {"on": "logits"}, "vanilla": {"alpha": [0.1, 0.2]}}
    assert tune("triplet", matrix(methods=methods_table), 1, store, on_plan) == first


def test_a_study_of_other_code_is_another_study(queue: Any, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The version of a method, as every other part of a run's identity, is part of the study's."""
    first = tune("triplet", matrix(), 1, store, on_plan)
    monkeypatch.setattr(methods.METHODS["triplet"], "version", 99)
    assert tune("triplet", matrix(), 1, store, on_plan).matrix != first.matrix


def test_a_trial_with_a_failed_seed_never_wins_while_one_is_complete(queue: Any, store: Store) -> None:
    """The defaults have a perfect score on the seed that is left."""
    queue.score = lambda run: 0.1 if run.hyperparameters.get("alpha") != 0.9 else None if run.seed else 1.0
    result = tune("vanilla", matrix(), 3, store, on_plan)
    assert result.best.num_failed == 0
    assert result.best.score == pytest.approx(0.1)
    assert (result.trials[0].score, result.trials[0].num_failed) == (1.0, 1)


def test_of_trials_that_all_have_a_failed_seed_the_best_is_shown_as_such(queue: Any, store: Store) -> None:
    queue.score = lambda run: None if run.seed and run.method == "vanilla" else 0.5
    result = tune("vanilla", matrix(), 2, store, on_plan)
    assert (result.best.score, result.best.num_failed, result.num_failed) == (0.5, 1, 2)


def test_the_result_has_the_seeds_and_the_validation_images(queue: Any, store: Store) -> None:
    result = tune("vanilla", matrix(protocol={"validation": 0.2, "search_seeds": [7, 8]}), 1, store, on_plan)
    assert result.seeds == (7, 8)
    assert result.validation_images == round(0.2 * 1437)
    assert result.best.scores.keys() == {7, 8}


INVALID: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown hyperparameter": (
        {"fitnets": {"weigth": 1.0}},
        r"methods\.fitnets: 'fitnets' has no hyperparameter 'weigth'",
    ),
    "an inactive value": ({"fitnets": {"share": 0.2}}, "'fitnets' does not use share = 0.2 with mode = 'joint'"),
    "a list of a mode": (
        {"fitnets": {"mode": ["joint", "two_stage"]}},
        r"methods\.fitnets\.mode: must be one value to tune, got a list, because weight is active only with",
    ),
    "everything fixed": (
        {"fitnets": {"weight": 1.0}},
        "'fitnets' declares no range to search beside weight, which the matrix fixes",
    ),
    "an empty list": ({"fitnets": {"weight": []}}, r"base\.toml: methods\.fitnets\.weight: must have at least 1 value"),
}


@pytest.mark.parametrize(("table", "message"), INVALID.values(), ids=INVALID)
def test_a_table_that_cannot_be_tuned_is_refused(queue: Any, store: Store, table: dict[str, Any], message: str) -> None:
    pairs = [{"teacher": "cnn_4_8", "student": "cnn_4_4"}]
    with pytest.raises(KdbenchError, match=message):
        tune("fitnets", matrix(pairs=pairs, methods=table), 2, store, on_plan)
    assert queue.trained == []


@pytest.mark.parametrize("kind", ["nested", "text", "foreign", "FIFO"])
def test_a_corrupted_journal_is_named(queue: Any, store: Store, kind: str) -> None:
    tune("vanilla", matrix(), 1, store, on_plan)
    (path,) = (store.root / "tuning").glob("*.journal")
    match kind:
        case "nested":
            path.write_text("[" * 10_000 + "\n" + path.read_text())
        case "text":
            path.write_text(path.read_text() + "[]\n{}\n")
        case "foreign":
            path.write_text(path.read_text().replace("alpha", "beta"))
        case "FIFO":
            path.unlink()
            os.mkfifo(path)
    with pytest.raises(ResultsError) as caught:
        tune("vanilla", matrix(), 2, store, on_plan)
    assert str(caught.value).startswith(f"{path}: corrupted (")
    assert len(str(caught.value).splitlines()) == 1
    path.unlink()
    trained = len(queue.trained)
    tune("vanilla", matrix(), 1, store, on_plan)
    assert len(queue.trained) == trained
