"""The search, with a fake queue that gives runs a validation score and, by default, no test score."""

from pathlib import Path
from typing import Any

import pytest

from kdbench import methods
from kdbench.errors import KdbenchError, MatrixError, MethodError
from kdbench.events import Event, EventHandler, RunDone
from kdbench.hyperparameters import declared
from kdbench.matrix import MatrixSpec, parse
from kdbench.plan import Plan
from kdbench.results import Store
from kdbench.tuning import split_method, tune


def matrix(**changes: Any) -> MatrixSpec:
    raw: dict[str, Any] = {
        "name": "base",
        "seeds": [0, 1],
        "datasets": ["digits"],
        "pairs": [{"teacher": "cnn_4_8", "student": "mlp_16"}],
        "recipe": {"epochs": 1, "train_samples": 100, "batch_size": 32, "precision": "fp32"},
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
    assert result.default.score == pytest.approx(0.6)


def test_every_value_is_in_its_range(queue: Any, store: Store) -> None:
    tune("vanilla", matrix(), 9, store, on_plan)
    assert all(0.05 <= alpha <= 0.95 and 1 <= t <= 20 for alpha, t in configurations(queue, "alpha", "temperature"))


def test_the_best_has_the_highest_mean_validation_accuracy(queue: Any, store: Store) -> None:
    result = tune("vanilla", matrix(), 6, store, on_plan)
    nearest = min(configurations(queue, "alpha", "temperature"), key=lambda configuration: abs(configuration[0] - 0.5))
    assert (result.best.configuration["alpha"], result.best.configuration["temperature"]) == nearest
    assert result.best.score == pytest.approx(1 - abs(nearest[0] - 0.5))
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


def test_a_failed_trial_has_no_score(queue: Any, store: Store) -> None:
    score = queue.score
    queue.score = lambda run: None if run.seed == 1 and run.hyperparameters.get("alpha") == 0.9 else score(run)
    result = tune("vanilla", matrix(), 4, store, on_plan)
    assert (len(result.trials), result.num_failed) == (4, 1)
    assert result.default.score is None
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
    with pytest.raises(MethodError, match=r"all 2 trials of tune-vanilla-.* failed; `kdbench report tune-"):
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
    queue.score = lambda run: float(run.hyperparameters.get("weight", 0))
    result = tune("no_default", matrix(), 3, store, on_plan)
    assert result.best.configuration["weight"] == result.best.score
    assert (result.default.configuration, result.default.score) == ({}, None)


def test_a_default_that_is_not_part_of_the_identity_is_found(queue: Any, store: Store, custom_methods: None) -> None:
    queue.score = lambda run: 0.5 if run.method == "scratch" else 1 / float(run.hyperparameters.get("rate", 1))
    result = tune("later", matrix(), 3, store, on_plan)
    assert result.default.score == 1
    assert result.best.score == pytest.approx(1 / result.best.configuration["rate"])


def test_the_first_data_set_and_pair_are_used(queue: Any, store: Store) -> None:
    pairs = [{"teacher": "cnn_4_8", "student": "mlp_16"}, {"teacher": "cnn_8_16", "student": "mlp_8"}]
    tune("vanilla", matrix(pairs=pairs, methods={"dml": {}}, exclude=[{"method": "vanilla"}]), 1, store, on_plan)
    assert {run.student.name for run in queue.trained} == {"cnn_4_8", "mlp_16"}
    assert {run.method for run in queue.trained} == {"scratch", "vanilla"}


def test_overrides_of_the_recipe_apply_and_those_of_methods_do_not(queue: Any, store: Store) -> None:
    override = [
        {"when": {"method": "vanilla"}, "set": {"recipe": {"epochs": 2}, "methods": {"vanilla": {"alpha": 0.1}}}},
        {"when": {"dataset": "digits"}, "set": {"methods": {"dml": {}}}},
    ]
    tune("vanilla", matrix(override=override, methods={"vanilla": {}, "dml": {}}), 1, store, on_plan)
    (distilled, *_) = [run for run in queue.trained if run.method == "vanilla"]
    assert (distilled.recipe.epochs, distilled.hyperparameters["alpha"]) == (2, 0.9)


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


def test_a_label_of_the_matrix_is_refused_with_its_method() -> None:
    base = parse(
        {
            "name": "m",
            "datasets": ["digits"],
            "pairs": [{"teacher": "mlp_8", "student": "mlp_4"}],
            "methods": {"mine": {"method": "package.module:Mine"}, "HKD": {"method": ["triplet", "vanilla"]}},
        },
        "mine.toml",
    )
    with pytest.raises(MethodError, match=r"'mine' is a label of mine\.toml, not a method; use --method"):
        split_method("mine", base)
    with pytest.raises(MethodError, match=r'use --method "triplet \+ vanilla"'):
        split_method("HKD", base)
    assert split_method("triplet + vanilla", base) == ["triplet", "vanilla"]


def test_the_search_seeds_of_a_matrix_are_those_of_the_trials(queue: Any, store: Store) -> None:
    protocol = {"validation": 0.2, "search_seeds": [100, 101, 102], "refit": True}
    tune("vanilla", matrix(protocol=protocol), 2, store, on_plan)
    distilled = [run for run in queue.trained if run.method == "vanilla"]
    assert {run.seed for run in distilled} == {100, 101, 102}
    assert {run.split.validation for run in queue.trained} == {0.2}


def test_a_swept_recipe_is_refused(queue: Any, store: Store) -> None:
    recipe = {"epochs": 1, "train_samples": 100, "batch_size": 32, "student": {"epochs": [1, 2]}}
    with pytest.raises(MatrixError, match=r"^base\.toml: recipe\.epochs: tuning needs one value, got several; set it"):
        tune("vanilla", matrix(recipe=recipe), 2, store, on_plan)
    assert queue.trained == []
