"""Optuna studies over the ranges that methods declare. Only validation is read; every trial is an ordinary run."""

from kdbench.tuning.study import Trial, Tuned, tune

__all__ = ["Trial", "Tuned", "tune"]
