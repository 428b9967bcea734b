"""Metrics of a classifier, and statistics over seeds: pure functions, no torch.

Functions that compare candidates take a data frame of scores with one row per seed and one column per candidate.
"""

from kdbench.analysis.choice import best_candidate, comparable_scores
from kdbench.analysis.comparison import MIN_SEEDS, Comparison, compare_candidates
from kdbench.analysis.metrics import classification_metrics, predicted_classes
from kdbench.analysis.resolution import assumed_spread, detectable_difference, seeds_to_detect, visible_difference
from kdbench.analysis.statistics import Interval, Summary, paired_interval, paired_p_value, summarize

__all__ = [
    "MIN_SEEDS",
    "Comparison",
    "Interval",
    "Summary",
    "assumed_spread",
    "best_candidate",
    "classification_metrics",
    "comparable_scores",
    "compare_candidates",
    "detectable_difference",
    "paired_interval",
    "paired_p_value",
    "predicted_classes",
    "seeds_to_detect",
    "summarize",
    "visible_difference",
]
