"""The search, with a queue that gives a run a validation score, and by default no test score, without training it."""

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
from kdbench.tuning import tune


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


def listen(plan: Plan) -> EventHandler:
    known = {run.id for run in plan.runs}

    def handle(event: Event) -> None:
        assert isinstance(event, RunDone)
        assert event.run in known

    return handle


def configurations(queue: Any, *names: str) -> list[tuple[Any, ...]]:
    """The configurations that were trained, in their order, once a seed."""
    distilled = [run for run in queue.trained if run.method != "scratch" and run.seed == 0]
    return [tuple(run.hyperparameters[name] for name in names) for run in distilled]


def test_the_defaults_come_first(queue: Any, store: Store) -> None:
    found = tune("vanilla", matrix(), 3, store, listen)
    tried = configurations(queue, "alpha", "temperature")
    assert tried[0] == (0.9, 4.0)
    assert len(set(tried)) == 3
    assert found.default == {"alpha": 0.9, "temperature": 4.0}
    assert found.default_score == pytest.approx(0.6)


def test_every_configuration_is_in_its_range(queue: Any, store: Store) -> None:
    tune("vanilla", matrix(), 9, store, listen)
    assert all(0.05 <= alpha <= 0.95 and 1 <= t <= 20 for alpha, t in configurations(queue, "alpha", "temperature"))


def test_the_best_has_the_highest_mean_validation_accuracy(queue: Any, store: Store) -> None:
    found = tune("vanilla", matrix(), 6, store, listen)
    nearest = min(configurations(queue, "alpha", "temperature"), key=lambda configuration: abs(configuration[0] - 0.5))
    assert (found.best["alpha"], found.best["temperature"]) == nearest
    assert found.score == pytest.approx(1 - abs(nearest[0] - 0.5))
    assert (len(found.trials), found.failed) == (6, 0)


def test_every_seed_of_a_configuration_is_trained(queue: Any, store: Store) -> None:
    tune("vanilla", matrix(seeds=[0, 1, 2]), 2, store, listen)
    distilled = [run for run in queue.trained if run.method == "vanilla"]
    assert sorted(run.seed for run in distilled) == [0, 0, 1, 1, 2, 2]


def test_test_scores_are_not_read(queue: Any, store: Store, tmp_path: Path) -> None:
    without = tune("vanilla", matrix(), 6, store, listen)
    queue.test_of = lambda score: 1 - score
    assert tune("vanilla", matrix(), 6, Store(tmp_path / "other"), listen) == without


def test_four_configurations_train_side_by_side(queue: Any, store: Store) -> None:
    tune("vanilla", matrix(), 6, store, listen)
    cells = [sum(cell.kind == "method" for cell in plan.cells) for plan in queue.plans]
    assert cells == [4, 6]


def test_the_journal_is_in_the_results_folder(queue: Any, store: Store) -> None:
    found = tune("vanilla", matrix(), 2, store, listen)
    (journal,) = (store.root / "tuning").iterdir()
    assert journal.name == f"{found.matrix}.journal"


def test_trials_stand_in_the_results_under_their_matrix(queue: Any, store: Store) -> None:
    found = tune("vanilla", matrix(), 3, store, listen)
    index = store.index(found.matrix)
    assert index is not None
    assert found.matrix.startswith("tune-vanilla-")
    assert [cell.label for cell in index.cells] == ["teacher", "scratch", "vanilla", "vanilla", "vanilla"]
    assert set(index.run_ids) == {run.id for run in queue.trained}


def test_going_on_reuses_the_earlier_trials(queue: Any, store: Store) -> None:
    first = tune("vanilla", matrix(), 3, store, listen)
    done = {run.id for run in queue.trained}
    second = tune("vanilla", matrix(run={"workers": 1}, methods={"dml": {}}), 5, store, listen)
    assert second.matrix == first.matrix
    assert len(second.trials) == 5
    assert second.score >= first.score
    assert len({run.id for run in queue.trained} - done) == 2 * 2
    assert len(queue.trained) == len({run.id for run in queue.trained})


def test_as_many_trials_as_before_train_nothing(queue: Any, store: Store) -> None:
    first = tune("vanilla", matrix(), 3, store, listen)
    planned = len(queue.plans)
    assert tune("vanilla", matrix(), 3, store, listen) == first
    assert tune("vanilla", matrix(), 2, store, listen) == first
    assert len(queue.plans) == planned


def test_interrupted_trials_are_taken_up(queue: Any, store: Store) -> None:
    queue.interrupt = True
    with pytest.raises(KeyboardInterrupt):
        tune("vanilla", matrix(), 3, store, listen)
    queue.interrupt = False
    assert len(tune("vanilla", matrix(), 3, store, listen).trials) == 3
    begun, finished = (sorted(run.id for run in plan.runs) for plan in queue.plans)
    assert begun == finished


def test_another_recipe_is_another_study(queue: Any, store: Store) -> None:
    first = tune("vanilla", matrix(), 2, store, listen)
    second = tune("vanilla", matrix(seeds=[0]), 2, store, listen)
    assert first.matrix != second.matrix
    assert len(list((store.root / "tuning").iterdir())) == 2


def test_a_trial_that_fails_is_told_as_failed(queue: Any, store: Store) -> None:
    score = queue.score
    queue.score = lambda run: None if run.seed == 1 and run.hyperparameters.get("alpha") == 0.9 else score(run)
    found = tune("vanilla", matrix(), 4, store, listen)
    assert (len(found.trials), found.failed) == (4, 1)
    assert found.default_score is None
    assert found.best["alpha"] != 0.9


def test_a_failed_trial_is_not_tried_again(queue: Any, store: Store) -> None:
    score = queue.score
    queue.score = lambda run: None if run.hyperparameters.get("alpha") == 0.9 else score(run)
    tune("vanilla", matrix(), 3, store, listen)
    trained = len(queue.trained)
    assert tune("vanilla", matrix(), 3, store, listen).failed == 1
    assert len(queue.trained) == trained


def test_where_all_trials_fail_there_is_no_best(queue: Any, store: Store) -> None:
    queue.score = lambda run: 0.5 if run.method == "scratch" else None
    with pytest.raises(MethodError, match=r"all 2 trials of tune-vanilla-.* failed; `kdbench report tune-"):
        tune("vanilla", matrix(), 2, store, listen)


def test_a_sum_is_searched_over_all_its_parts(queue: Any, store: Store) -> None:
    found = tune("vanilla + rkd_da", matrix(), 2, store, listen)
    keys = ("vanilla.alpha", "vanilla.temperature", "rkd_da.distance_weight", "rkd_da.angle_weight")
    assert set(found.best) == set(found.default) == set(keys)
    assert configurations(queue, *keys)[0] == tuple(found.default[key] for key in keys)


def test_the_baseline_itself_can_be_tuned(queue: Any, store: Store) -> None:
    queue.score = lambda run: 0.5 + float(run.hyperparameters["label_smoothing"])
    found = tune("scratch", matrix(), 3, store, listen)
    assert found.default_score == 0.5
    assert found.score == pytest.approx(0.5 + found.best["label_smoothing"])


def test_a_configuration_that_comes_twice_is_trained_once(queue: Any, store: Store, own_methods: None) -> None:
    queue.score = lambda run: 0.1 * run.hyperparameters.get("depth", 0)
    found = tune("whole", matrix(), 6, store, listen)
    assert len(found.trials) == 6
    assert found.best == {"depth": 2}
    assert sorted(configurations(queue, "depth")) == [(1,), (2,)]


def test_a_hyperparameter_without_default_is_searched_all_the_same(queue: Any, store: Store, own_methods: None) -> None:
    queue.score = lambda run: float(run.hyperparameters.get("weight", 0))
    found = tune("no_default", matrix(), 3, store, listen)
    assert found.best["weight"] == found.score
    assert (found.default, found.default_score) == ({}, None)


def test_a_default_that_runs_leave_out_is_found(queue: Any, store: Store, own_methods: None) -> None:
    queue.score = lambda run: 0.5 if run.method == "scratch" else 1 / float(run.hyperparameters.get("rate", 1))
    found = tune("later", matrix(), 3, store, listen)
    assert found.default_score == 1
    assert found.score == pytest.approx(1 / found.best["rate"])


def test_the_first_data_set_and_pair_are_used(queue: Any, store: Store) -> None:
    pairs = [{"teacher": "cnn_4_8", "student": "mlp_16"}, {"teacher": "cnn_8_16", "student": "mlp_8"}]
    tune("vanilla", matrix(pairs=pairs, methods={"dml": {}}, exclude=[{"method": "vanilla"}]), 1, store, listen)
    assert {run.student.name for run in queue.trained} == {"cnn_4_8", "mlp_16"}
    assert {run.method for run in queue.trained} == {"scratch", "vanilla"}


def test_overrides_of_the_recipe_hold_and_those_of_methods_do_not(queue: Any, store: Store) -> None:
    override = [
        {"when": {"method": "vanilla"}, "set": {"recipe": {"epochs": 2}, "methods": {"vanilla": {"alpha": 0.1}}}},
        {"when": {"dataset": "digits"}, "set": {"methods": {"dml": {}}}},
    ]
    tune("vanilla", matrix(override=override, methods={"vanilla": {}, "dml": {}}), 1, store, listen)
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
    "an unknown method": ("vanila", {}, MethodError, r"there is no method 'vanila'; did you mean 'vanilla'\?"),
    "an incompatible sum": ("vanilla + fitnets + dml", {}, MethodError, "is incompatible with the pair"),
}


@pytest.mark.parametrize(("method", "changes", "kind", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_searched_is_refused(
    queue: Any, store: Store, method: str, changes: dict[str, Any], kind: type[KdbenchError], message: str
) -> None:
    with pytest.raises(kind, match=message):
        tune(method, matrix(**changes), 2, store, listen)
    assert queue.trained == []


@pytest.mark.parametrize("method", methods.METHODS)
def test_every_default_is_in_the_range_that_is_searched(method: str) -> None:
    searched = [p for p in declared(methods.METHODS[method]).values() if p.tune is not None]
    outside = [p.name for p in searched if p.tune and not p.tune.low <= float(str(p.default)) <= p.tune.high]
    assert outside == []


def test_only_what_counts_by_default_is_searched(queue: Any, store: Store) -> None:
    found = tune("fitnets", matrix(pairs=[{"teacher": "cnn_4_8", "student": "cnn_4_4"}]), 2, store, listen)
    assert found.default == {"weight": 100.0}
    assert found.best.keys() == {"weight"}
