"""A study: a search of a method's hyperparameters in which every trial is a configuration of one matrix."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, final

import optuna
from optuna.distributions import BaseDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from kdbench import methods
from kdbench.errors import MatrixError, MethodError
from kdbench.events import EventHandler
from kdbench.matrix import Cell, MatrixSpec, RunSpec
from kdbench.matrix.identity import canonical, digest
from kdbench.matrix.schema import Override
from kdbench.plan import Plan, make_plan
from kdbench.results import Store
from kdbench.results.files import writable
from kdbench.runner import run_plan
from kdbench.tuning.search_space import default_configuration, search_space

BATCH_SIZE = 4  # trials that are proposed at once, so that they train side by side
Configuration = Mapping[str, Any]  # values by the names of hyperparameters
OnPlan = Callable[[Plan], EventHandler]


@final
@dataclass(frozen=True)
class Trial:
    """A configuration and its score; None if a run failed."""

    configuration: Configuration
    score: float | None


@final
@dataclass(frozen=True)
class TuningResult:
    """The result of a study. A score is the mean validation accuracy over the seeds, from 0 to 1.

    Attributes:
        matrix: the name of the matrix with the trials, in the results folder and in reports.
        best: the trial with the highest score.
        default: the trial with the default values. Its score is None if a run failed, or if a hyperparameter has no
            default and the configuration is incomplete.
        trials: all finished trials, in their order.
    """

    matrix: str
    best: Trial
    default: Trial
    trials: tuple[Trial, ...]

    @property
    def num_failed(self) -> int:
        """The number of trials without a score."""
        return sum(trial.score is None for trial in self.trials)


def tune(method: str, base: MatrixSpec, num_trials: int, store: Store, on_plan: OnPlan) -> TuningResult:
    """Search the hyperparameters of a method by validation accuracy, starting with the defaults.

    A study of the same method, data, recipe and seeds is resumed: its trials are included.

    Args:
        method: the name of a method, or of a sum such as "vanilla + rkd_da".
        base: its first data set, first pair, recipe and seeds are used; its methods are ignored. Its search seeds are
            used in place of its seeds, which are for reports.
        num_trials: the number of finished trials after which the search ends.
        store: the results folder.
        on_plan: called with every plan before it is trained; returns the handler of its events.

    Raises:
        MethodError: the method is unknown, has no range to search, is incompatible with the pair, or all trials failed.
        MatrixError: `base` has no validation images, or sweeps a value of the recipe.
    """
    if base.protocol.validation == 0:
        raise MatrixError(f"{base.file}: protocol.validation is 0, but tuning needs validation images; set it to 0.1")
    parts = split_method(method, base)
    space, default = search_space(parts), default_configuration(parts)
    name = _study_name(parts, base)
    study = _load_study(name, store)
    if not study.get_trials(deepcopy=False):
        study.enqueue_trial(default)
    while batch := _next_batch(study, num_trials, space):
        configurations = [t.params for t in study.get_trials(deepcopy=False) if t.state != TrialState.WAITING]
        plan = make_plan(_make_matrix(name, base, parts, configurations))
        _check_recipe(plan, base)
        if plan.incompatible:
            raise MethodError(f"'{method}' is incompatible with the pair: {plan.incompatible[0].reason}")
        run_plan(plan, store, on_plan(plan))
        for trial in batch:
            score = _score(_find_cell(plan, parts, default, trial.params), store)
            study.tell(trial.number, score, state=TrialState.FAIL if score is None else None)
    return _result(name, study, default)


def _check_recipe(plan: Plan, base: MatrixSpec) -> None:
    """Raise if there are several recipes: trials are compared under one."""
    swept = next((key for cell in plan.cells for key in cell.swept), None)
    if swept:
        raise MatrixError(f"{base.file}: {swept}: tuning needs one value, got several; set it to one value")


def split_method(method: str, base: MatrixSpec) -> list[str]:
    """Return the parts of a method or sum.

    Raises:
        MethodError: it is a label of the matrix that stands for another method.
    """
    named = base.methods.get(method, {}).get("method")
    if named is not None and method not in methods.METHODS:
        full = named if isinstance(named, str) else " + ".join(named)
        raise MethodError(f"'{method}' is a label of {base.file}, not a method; use --method \"{full}\"")
    return [part.strip() for part in method.split("+")]


def _study_name(parts: Sequence[str], base: MatrixSpec) -> str:
    """Return the name of the study and of its matrix, which depends on the methods, data, recipe and seeds."""
    identity = canonical([parts, base.model_dump(mode="json", exclude={"run", "methods"})])
    return f"tune-{re.sub('[^A-Za-z0-9._-]', '-', '-'.join(parts))[:60]}-{digest(identity)[:6]}"


def _load_study(name: str, store: Store) -> optuna.Study:
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
    seed = len(study.get_trials(deepcopy=False))  # with a constant seed a resumed study would repeat its first trials
    study.sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=True)
    return study


def _next_batch(
    study: optuna.Study, num_trials: int, space: dict[str, BaseDistribution]
) -> list[FrozenTrial | optuna.Trial]:
    """Return the trials to train next: those that an interrupted search has left, then new ones."""
    unfinished = [trial for trial in study.get_trials() if trial.state == TrialState.RUNNING]
    num_finished = sum(trial.state.is_finished() for trial in study.get_trials(deepcopy=False))
    num_new = min(BATCH_SIZE, num_trials - num_finished) - len(unfinished)
    return [*unfinished, *(study.ask(fixed_distributions=space) for _ in range(num_new))]


def _make_matrix(
    name: str, base: MatrixSpec, parts: Sequence[str], configurations: Sequence[Configuration]
) -> MatrixSpec:
    """Return the base matrix with this method alone and the configurations proposed so far."""
    unique = [one for index, one in enumerate(configurations) if one not in configurations[:index]]
    keys = list(configurations[0])
    table: dict[str, Any] = {"method": list(parts), "zip": [keys]}
    for key in keys:
        part, _, hyperparameter = key.rpartition(".")
        owner = table.setdefault(part, {}) if part else table
        owner[hyperparameter] = [configuration[key] for configuration in unique]
    changes = {
        "name": name,
        "datasets": base.datasets[:1],
        "pairs": base.pairs[:1],
        "methods": {" + ".join(parts): table},
        "seeds": base.protocol.search_seeds or base.seeds,
        "protocol": base.protocol.model_copy(update={"search_seeds": (), "refit": False}),
        "exclude": (),
        "override": tuple(_recipe_overrides(base.override)),
    }
    return base.model_copy(update=changes)


def _recipe_overrides(overrides: Iterable[Override]) -> Iterator[Override]:
    for override in overrides:
        if "recipe" in override.set:
            yield override.model_copy(update={"set": {"recipe": override.set["recipe"]}})


def _find_cell(plan: Plan, parts: Sequence[str], default: Configuration, configuration: Configuration) -> Cell:
    """Return the cell of a configuration; its runs may leave out values that are defaults."""

    def has_configuration(spec: RunSpec) -> bool:
        values = {**default, **spec.hyperparameters}
        return spec.method == " + ".join(parts) and all(values[key] == one for key, one in configuration.items())

    cells = (cell for cell in plan.cells if cell.kind != "teacher")
    return next(cell for cell in cells if has_configuration(next(iter(cell.runs.values()))))


def _score(cell: Cell, store: Store) -> float | None:
    """Return the mean validation accuracy over the seeds; None if a run failed."""
    results = [store.result(run.id) for run in cell.runs.values()]
    if any(result is None or result["status"] != "done" for result in results):
        return None
    return fmean(result["row"]["val_accuracy"] for result in results if result)


def _result(name: str, study: optuna.Study, default: Configuration) -> TuningResult:
    finished = study.get_trials(states=[TrialState.COMPLETE, TrialState.FAIL])
    trials = tuple(Trial(trial.params, trial.value) for trial in finished)
    if all(trial.score is None for trial in trials):
        raise MethodError(f"all {len(trials)} trials of {name} failed; `kdbench report {name}` lists their errors")
    best = study.best_trial
    default_trial = next((trial for trial in trials if trial.configuration == default), Trial(default, None))
    return TuningResult(name, Trial(best.params, best.value), default_trial, trials)
