"""Search of hyperparameters with Optuna over the ranges that methods declare.

Only validation accuracy is read. Every trial is a run in the results folder, like any other.
"""

from kdbench.tuning.label import default_matrix, find_label
from kdbench.tuning.result import Trial, TuningResult
from kdbench.tuning.study import tune

__all__ = ["Trial", "TuningResult", "default_matrix", "find_label", "tune"]
