"""Search of hyperparameters with Optuna over the ranges that methods declare.

Only validation accuracy is read. Every trial is a run in the results folder, like any other.
"""

from kdbench.tuning.study import Trial, TuningResult, split_method, tune

__all__ = ["Trial", "TuningResult", "split_method", "tune"]
