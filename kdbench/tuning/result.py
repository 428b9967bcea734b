"""The result of a study: its trials, and the best one."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, final

from kdbench.analysis import best_candidate
from kdbench.errors import MethodError
from kdbench.matrix import Cell
from kdbench.plan.choice import read_scores
from kdbench.results import MatrixIndex, Store


@final
@dataclass(frozen=True)
class Trial:
    """A configuration and its validation accuracy by seed, from 0 to 1; without the seeds whose run failed."""

    configuration: Mapping[str, Any]
    scores: Mapping[int, float] = field(default_factory=dict)
    num_failed: int = 0

    @property
    def score(self) -> float | None:
        """The mean over the seeds whose run finished; None if there is none."""
        return sum(self.scores.values()) / len(self.scores) if self.scores else None


@final
@dataclass(frozen=True)
class TuningResult:
    """The result of a study. A score is the mean validation accuracy over the seeds, from 0 to 1.

    Attributes:
        matrix: the name of the matrix with the trials, in the results folder and in reports.
        best: the trial with the highest score; one with a failed run only if every trial has one.
        default: the trial with the default values, or without scores if a hyperparameter has no default.
        trials: all finished trials, in their order.
        table: the table of the label in a matrix: its fixed values, and those of the best trial.
        seeds: the seeds of the trials.
        validation_images: the number of images that a score is measured on.
    """

    matrix: str
    best: Trial
    default: Trial
    trials: tuple[Trial, ...]
    table: Mapping[str, Any] = field(default_factory=dict)
    seeds: tuple[int, ...] = ()
    validation_images: int = 0

    @property
    def num_failed(self) -> int:
        """The number of trials with a failed run."""
        return sum(trial.num_failed > 0 for trial in self.trials)


def score_cell(configuration: Mapping[str, Any], cell: Cell, store: Store) -> Trial:
    """Return the trial of a cell; a run without a result counts as failed."""
    scores = read_scores(cell, store)
    return Trial(configuration, scores, len(cell.runs) - len(scores))


def make_result(
    label: str,
    index: MatrixIndex,
    validation_images: int,
    default: Mapping[str, Any],
    trials: Sequence[Trial],
    table: Callable[[Mapping[str, Any]], Mapping[str, Any]],
) -> TuningResult:
    """Return the result of the finished trials.

    Args:
        label: the label that was tuned.
        index: the index of the matrix with the trials.
        validation_images: the number of validation images.
        default: the default configuration.
        trials: the finished trials.
        table: returns the table of the label with a configuration.

    Raises:
        MethodError: all runs of all trials failed.
    """
    import pandas as pd

    scores = pd.DataFrame({number: pd.Series(trial.scores, dtype=float) for number, trial in enumerate(trials)})
    best = best_candidate(scores, {number for number, trial in enumerate(trials) if trial.num_failed})
    if best is None:
        name = index.name
        raise MethodError(f"all {len(trials)} trials of '{label}' failed; `kdbench report {name}` lists their errors")
    chosen = trials[int(str(best))]
    return TuningResult(
        matrix=index.name,
        best=chosen,
        default=next((trial for trial in trials if trial.configuration == default), Trial(default)),
        trials=tuple(trials),
        table=table(chosen.configuration),
        seeds=index.seeds,
        validation_images=validation_images,
    )
