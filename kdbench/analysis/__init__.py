"""Metrics of a classifier, and statistics over seeds: pure functions, no torch.

Functions that compare candidates take a data frame of scores with one row per seed and one column per candidate.
"""

from kdbench.analysis.bootstrap import bootstrap_interval, resample_gain
from kdbench.analysis.choice import best_candidate, comparable_scores
from kdbench.analysis.comparison import MIN_SEEDS, Comparison, compare_candidates, measure_spread
from kdbench.analysis.metrics import classification_metrics, predicted_classes
from kdbench.analysis.predictions import (
    Calibration,
    ClassScores,
    McNemar,
    agreement,
    calibration_curve,
    class_scores,
    confusion_matrix,
    mcnemar_test,
)
from kdbench.analysis.resolution import assumed_spread, detectable_difference, seeds_to_detect, visible_difference
from kdbench.analysis.statistics import Interval, Summary, paired_interval, paired_p_value, summarize

__all__ = [
    "MIN_SEEDS",
    "Calibration",
    "ClassScores",
    "Comparison",
    "Interval",
    "McNemar",
    "Summary",
    "agreement",
    "assumed_spread",
    "best_candidate",
    "bootstrap_interval",
    "calibration_curve",
    "class_scores",
    "classification_metrics",
    "comparable_scores",
    "compare_candidates",
    "confusion_matrix",
    "detectable_difference",
    "mcnemar_test",
    "measure_spread",
    "paired_interval",
    "paired_p_value",
    "predicted_classes",
    "resample_gain",
    "seeds_to_detect",
    "summarize",
    "visible_difference",
]
