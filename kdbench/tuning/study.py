"""A study: a search of a label's hyperparameters in which every trial is a configuration of one matrix."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, final

import optuna
from optuna.distributions import BaseDistribution, distribution_to_json
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from kdbench.errors import MatrixError, MethodError, ResultsError, StorageError
from kdbench.events import EventHandler
from kdbench.matrix import Cell, MatrixSpec, RunSpec
from kdbench.matrix.identity import canonical, digest
from kdbench.matrix.sweep import RECIPE, Key
from kdbench.plan import Plan, make_plan
from kdbench.results import Store
from kdbench.results.files import corrupted, without_remedy, writable
from kdbench.results.regular_files import open_regular
from kdbench.results.storage_errors import storage_errors
from kdbench.runner import run_plan
from kdbench.tuning.label import Label, overrides_of, read_label
from kdbench.tuning.result import Trial, TuningResult, make_result, score_cell
from kdbench.tuning.search_space import Space, default_configuration, search_space

BATCH_SIZE = 4  # trials that are proposed at once, so that they train side by side
Values = Mapping[Key, Any]
OnPlan = Callable[[Plan], EventHandler]


def tune(method: str, base: MatrixSpec, num_trials: int, store: Store, on_plan: OnPlan) -> TuningResult:
    """Search the hyperparameters of a method by validation accuracy, starting with the defaults.

    The values that the matrix fixes for the label, in its table and in overrides of the pair, are the same in every
    trial; its lists are searched: in the range of the hyperparameter, or, without a range, among their values. A study
    of the same label, values, data, recipe, seeds and code is resumed: its trials are included.

    Args:
        method: a label of `base`, the name of a method, or a sum such as "vanilla + rkd_da".
        base: its first data set, first pair and recipe are used, and its `search_seeds` or, without these, its seeds.
        num_trials: the number of finished trials after which the search ends.
        store: the results folder.
        on_plan: called with every plan before it is trained; returns the handler of its events.

    Raises:
        MethodError: the method is unknown, has nothing to search, is incompatible with the pair, or all trials failed.
        MatrixError: `base` has no validation images, or the table of the label has an invalid value.
    """
    if base.protocol.validation == 0:
        raise MatrixError(f"{base.file}: protocol.validation is 0, but tuning needs validation images; set it to 0.1")
    search = _Search(base, read_label(method, base))
    study = _load_study(search.name, search.space, store)
    if not study.get_trials(deepcopy=False):
        study.enqueue_trial(search.default)
    while batch := _next_batch(study, num_trials, search):
        plan = search.plan([t.params for t in study.get_trials(deepcopy=False) if t.state != TrialState.WAITING])
        run_plan(plan, store, on_plan(plan))
        for trial in batch:
            one = search.trial(plan, trial.params, store)
            score = None if one.num_failed else one.score
            study.tell(trial.number, score, state=TrialState.FAIL if score is None else None)
    finished = study.get_trials(states=[TrialState.COMPLETE, TrialState.FAIL])
    return search.result([trial.params for trial in finished], store)


@final
class _Search:
    """What a study of a label searches, and the matrix of its trials. `name` is that of the study and its matrix."""

    def __init__(self, base: MatrixSpec, label: Label) -> None:
        self._base = base
        self._label = label
        self._space = search_space(label)
        first = default_configuration(label, self._space)
        self._keys: dict[str, Key] = {label.full_name(key): key for key in self._space}
        self.default = {label.full_name(key): value for key, value in first.items()}
        self.space = {label.full_name(key): one for key, one in self._space.items()}
        self.name = ""
        probe = self.plan([{**_lowest(self._space, label), **self.default}])
        self.name = self._make_name(probe)

    def plan(self, configurations: Sequence[Mapping[str, Any]]) -> Plan:
        """Return the plan of the baselines and these configurations.

        Raises:
            MethodError: the method is incompatible with the pair.
        """
        plan = make_plan(self._matrix(configurations))
        if plan.incompatible:
            raise MethodError(f"'{self._label.name}' is incompatible with the pair: {plan.incompatible[0].reason}")
        return plan

    def trial(self, plan: Plan, configuration: Mapping[str, Any], store: Store) -> Trial:
        """Return a configuration with the scores of its runs."""
        return score_cell(configuration, self._find_cell(plan, configuration), store)

    def result(self, configurations: Sequence[Mapping[str, Any]], store: Store) -> TuningResult:
        """Return the result of the finished trials.

        Raises:
            MethodError: all runs of all trials failed.
        """
        plan = self.plan(configurations)
        trials = [self.trial(plan, one, store) for one in configurations]
        index = plan.index()
        training = index.trainings[next(cell.training for cell in index.cells if cell.kind == "scratch")]

        def table(configuration: Mapping[str, Any]) -> dict[str, Any]:
            return self._label.table({self._keys[name]: value for name, value in configuration.items()})

        return make_result(self._label.name, index, training.validation_images, self.default, trials, table)

    def _make_name(self, probe: Plan) -> str:
        """Return a name that depends on all that trials share: the ids of the runs of one of them, and the ranges."""
        ranges = {name: distribution_to_json(one) for name, one in self.space.items()}
        identity = canonical([self._label.name, ranges, sorted(run.id for run in probe.runs)])
        return f"tune-{re.sub('[^A-Za-z0-9._-]', '-', self._label.name)[:60]}-{digest(identity)[:6]}"

    def _matrix(self, configurations: Sequence[Mapping[str, Any]]) -> MatrixSpec:
        """Return the base matrix with this label alone and these configurations."""
        base, label = self._base, self._label
        unique = [one for index, one in enumerate(configurations) if one not in configurations[:index]]
        searched = {key: [one[name] for one in unique] for name, key in self._keys.items()}
        table = {**label.table(searched), "zip": [[".".join(key) for key in searched]]}
        protocol = base.protocol
        changes = {
            "name": self.name or "tune",
            "seeds": protocol.search_seeds or base.seeds,
            "protocol": protocol.model_copy(update={"search_seeds": (), "refit": False}),
            "datasets": base.datasets[:1],
            "pairs": base.pairs[:1],
            "methods": {label.name: table},
            "exclude": (),
            "override": tuple(overrides_of(label, base)),
        }
        return base.model_copy(update=changes)

    def _find_cell(self, plan: Plan, configuration: Mapping[str, Any]) -> Cell:
        """Return the cell of a configuration; its runs may leave out values that are defaults."""

        def value(spec: RunSpec, key: Key) -> Any:
            part, name = key
            if part == RECIPE:
                return _value_at(spec.recipe.model_dump(mode="json"), name)
            full = self._label.full_name(key)
            return spec.hyperparameters.get(full, self.default.get(full))

        def has_configuration(cell: Cell) -> bool:
            if cell.kind == "teacher" or cell.first.method != " + ".join(self._label.parts):
                return False
            return all(value(cell.first, self._keys[name]) == one for name, one in configuration.items())

        return next(cell for cell in plan.cells if has_configuration(cell))


def _value_at(table: Mapping[str, Any], path: str) -> Any:
    found: Any = table
    for name in path.split("."):
        found = found[name]
    return found


def _lowest(space: Space, label: Label) -> dict[str, Any]:
    """Return a value of everything that is searched."""
    return {
        label.full_name(key): one.low if hasattr(one, "low") else one.choices[0]  # type: ignore[attr-defined]
        for key, one in space.items()
    }


def _load_study(name: str, space: Mapping[str, BaseDistribution], store: Store) -> optuna.Study:
    """Return the study of a name, with the trials of earlier commands.

    Raises:
        ResultsError: the journal of the study is corrupted.
        StorageError: the folder cannot be read or written.
    """
    folder = store.root / "tuning"
    with writable(folder):
        folder.mkdir(parents=True, exist_ok=True)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    path = folder / f"{name}.journal"
    try:
        open_regular(path).close()
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:
        raise _corrupted(path, error) from None
    try:
        with storage_errors():
            study = optuna.create_study(
                study_name=name,
                storage=JournalStorage(JournalFileBackend(str(path))),
                direction="maximize",
                load_if_exists=True,
            )
            distributions = [trial.distributions for trial in study.get_trials(deepcopy=False) if trial.params]
    except StorageError:
        raise
    except Exception as error:  # whatever the content of the file makes Optuna raise
        raise _corrupted(path, f"{type(error).__name__}: {error}") from error
    if any(one != space for one in distributions):
        raise _corrupted(path, "a trial has other hyperparameters")
    seed = len(study.get_trials(deepcopy=False))  # with a constant seed a resumed study would repeat its first trials
    study.sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=True)
    return study


def _corrupted(path: Path, reason: object) -> ResultsError:
    return ResultsError(
        f"{without_remedy(corrupted(path, reason))}; move it elsewhere and rerun the command: the trials start again; "
        "finished runs are kept"
    )


def _next_batch(study: optuna.Study, num_trials: int, search: _Search) -> list[FrozenTrial | optuna.Trial]:
    """Return the trials to train next: those that an interrupted search has left, then new ones."""
    unfinished = [trial for trial in study.get_trials() if trial.state == TrialState.RUNNING]
    num_finished = sum(trial.state.is_finished() for trial in study.get_trials(deepcopy=False))
    num_new = min(BATCH_SIZE, num_trials - num_finished) - len(unfinished)
    return [*unfinished, *(study.ask(fixed_distributions=search.space) for _ in range(num_new))]
