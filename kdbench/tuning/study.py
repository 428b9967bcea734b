"""Search the hyperparameters of a method: each trial is a configuration of a matrix, trained like any other run."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, final

import optuna
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState
from optuna.trial import Trial as RunningTrial

from kdbench import methods
from kdbench.errors import MatrixError, MethodError
from kdbench.events import EventHandler
from kdbench.hyperparameters import Tune, declared, defaults
from kdbench.matrix import Cell, MatrixSpec, RunSpec
from kdbench.matrix.identity import canonical, digest
from kdbench.matrix.schema import Override
from kdbench.plan import Plan, make_plan
from kdbench.results import Store
from kdbench.results.files import writable
from kdbench.runner import run_plan

TOGETHER = 4  # trials asked for at once: they train side by side
Configuration = Mapping[str, Any]
Listen = Callable[[Plan], EventHandler]


@final
@dataclass(frozen=True)
class Trial:
    """One configuration of a study, by hyperparameter, and its score; None if a run failed."""

    configuration: Configuration
    score: float | None


@final
@dataclass(frozen=True)
class Tuned:
    """The outcome of a study; scores are mean validation accuracies over the seeds, from 0 to 1.

    Attributes:
        matrix: The name of the trials in the results folder and in reports.
        best: The configuration with the best score.
        score: Its score.
        default: The default values of the hyperparameters that have one.
        default_score: Their score; None if a run failed, or a hyperparameter has no default.
        trials: All trials, in their order.
    """

    matrix: str
    best: Configuration
    score: float
    default: Configuration
    default_score: float | None
    trials: tuple[Trial, ...]

    @property
    def failed(self) -> int:
        """The number of trials without a score."""
        return sum(trial.score is None for trial in self.trials)


def tune(method: str, base: MatrixSpec, trials: int, store: Store, listen: Listen) -> Tuned:
    """Search until `trials` configurations have been tried, the defaults first; a study that exists is resumed.

    The first data set and the first pair of `base` are used, with all its seeds. `listen` is called with every plan
    before it is trained, and returns the handler of its events.

    Raises:
        MethodError: the method declares no range to search.
        MatrixError: `base` has no validation images.
    """
    if base.protocol.validation == 0:
        raise MatrixError(f"{base.file}: protocol.validation is 0, but tuning needs validation images; set it to 0.1")
    names = [name.strip() for name in method.split("+")]
    space, default = _space(names), _defaults(names)
    name = _name(names, base)
    study = _study(name, store)
    if not study.get_trials(deepcopy=False):
        study.enqueue_trial(default)
    while pending := _pending(study, trials, space):
        configurations = [t.params for t in study.get_trials(deepcopy=False) if t.state != TrialState.WAITING]
        plan = make_plan(_matrix(name, base, names, configurations))
        if plan.incompatible:
            raise MethodError(f"'{method}' is incompatible with the pair: {plan.incompatible[0].reason}")
        run_plan(plan, store, listen(plan))
        for trial in pending:
            _tell(study, trial, _score(_cell(plan, names, trial.params), store))
    return _found(name, study, default)


def _name(names: Sequence[str], base: MatrixSpec) -> str:
    """The name of the study and of its matrix: the same for the same methods, data, recipe and seeds."""
    asked = canonical([names, base.model_dump(mode="json", exclude={"run", "methods"})])
    return f"tune-{re.sub('[^A-Za-z0-9._-]', '-', '-'.join(names))[:60]}-{digest(asked)[:6]}"


def _space(names: Sequence[str]) -> dict[str, BaseDistribution]:
    """The ranges of the hyperparameters that count by default; in a sum a key is prefixed by its part."""
    space = {
        _key(names, name, parameter.name): _distribution(parameter.annotation, parameter.tune)
        for name in names
        for parameter in declared(methods.find(name)).values()
        if parameter.tune is not None and parameter.is_active(defaults(methods.find(name)))
    }
    if not space:
        raise MethodError(
            f"'{' + '.join(names)}' declares no range to search; `kdbench list methods NAME` prints a method's ranges"
        )
    return space


def _defaults(names: Sequence[str]) -> dict[str, Any]:
    return {
        _key(names, name, key): default
        for name in names
        for key, default in defaults(methods.find(name)).items()
        if declared(methods.find(name))[key].tune is not None
    }


def _key(names: Sequence[str], part: str, hyperparameter: str) -> str:
    return hyperparameter if len(names) == 1 else f"{part}.{hyperparameter}"


def _distribution(annotation: Any, searched: Tune) -> BaseDistribution:
    if annotation.__origin__ is int:
        return IntDistribution(int(searched.low), int(searched.high), log=searched.log)
    return FloatDistribution(searched.low, searched.high, log=searched.log)


def _study(name: str, store: Store) -> optuna.Study:
    folder = store.root / "tuning"
    with writable(folder):
        folder.mkdir(parents=True, exist_ok=True)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        study_name=name,
        storage=JournalStorage(JournalFileBackend(str(folder / f"{name}.journal"))),
        direction="maximize",
        load_if_exists=True,
    )
    begun = len(study.get_trials(deepcopy=False))  # with one seed for all, going on would draw the first trials again
    study.sampler = optuna.samplers.TPESampler(seed=begun, constant_liar=True)
    return study


def _pending(study: optuna.Study, trials: int, space: dict[str, BaseDistribution]) -> list[FrozenTrial | RunningTrial]:
    """The trials to train next: those that an earlier search left unfinished, then new ones."""
    left = [trial for trial in study.get_trials() if trial.state == TrialState.RUNNING]
    ended = sum(trial.state.is_finished() for trial in study.get_trials(deepcopy=False))
    wanted = min(TOGETHER, trials - ended) - len(left)
    return [*left, *(study.ask(fixed_distributions=space) for _ in range(wanted))]


def _matrix(name: str, base: MatrixSpec, names: Sequence[str], configurations: Sequence[Configuration]) -> MatrixSpec:
    """Return the base matrix with this one method and the configurations tried so far."""
    different = [
        configuration
        for place, configuration in enumerate(configurations)
        if configuration not in configurations[:place]
    ]
    keys = list(configurations[0])
    table: dict[str, Any] = {"method": list(names), "zip": [keys]}
    for key in keys:
        part, _, own = key.rpartition(".")
        owner = table.setdefault(part, {}) if part else table
        owner[own] = [configuration[key] for configuration in different]
    changes = {
        "name": name,
        "datasets": base.datasets[:1],
        "pairs": base.pairs[:1],
        "methods": {" + ".join(names): table},
        "exclude": (),
        "override": tuple(_of_recipe(base.override)),
    }
    return base.model_copy(update=changes)


def _of_recipe(overrides: Iterable[Override]) -> Iterator[Override]:
    for override in overrides:
        if "recipe" in override.set:
            yield override.model_copy(update={"set": {"recipe": override.set["recipe"]}})


def _cell(plan: Plan, names: Sequence[str], configuration: Configuration) -> Cell:
    """Return the cell of a configuration: its runs hold the values, or leave out those that equal the defaults."""
    default = _defaults(names)

    def holds(spec: RunSpec) -> bool:
        found = default | spec.hyperparameters
        return spec.method == " + ".join(names) and all(found[key] == value for key, value in configuration.items())

    return next(cell for cell in plan.cells if cell.kind != "teacher" and holds(next(iter(cell.runs.values()))))


def _score(cell: Cell, store: Store) -> float | None:
    """The mean validation accuracy over the seeds; None where a run failed."""
    results = [store.result(run.id) for run in cell.runs.values()]
    if any(result is None or result["status"] != "done" for result in results):
        return None
    return fmean(result["row"]["val_accuracy"] for result in results if result)


def _tell(study: optuna.Study, trial: FrozenTrial | RunningTrial, score: float | None) -> None:
    if score is None:
        study.tell(trial.number, state=TrialState.FAIL)
    else:
        study.tell(trial.number, score)


def _found(name: str, study: optuna.Study, default: Configuration) -> Tuned:
    trials = study.get_trials(states=[TrialState.COMPLETE, TrialState.FAIL])
    scores = [trial.value for trial in trials if trial.value is not None]
    if not scores:
        raise MethodError(f"all {len(trials)} trials of {name} failed; `kdbench report {name}` gives the reasons")
    return Tuned(
        matrix=name,
        best=study.best_trial.params,
        score=max(scores),
        default=default,
        default_score=next((trial.value for trial in trials if trial.params == default), None),
        trials=tuple(Trial(trial.params, trial.value) for trial in trials),
    )
