"""Metrics of a classifier, and statistics over seeds: pure functions, no torch.

Functions that compare candidates take a data frame of scores with one row per seed and one column per candidate.
"""

from kdbench.analysis.choice import best_candidate, comparable_scores, tied_candidates
from kdbench.analysis.metrics import classification_metrics, predicted_classes
from kdbench.analysis.statistics import Summary, paired_p_value, summarize

__all__ = [
    "Summary",
    "best_candidate",
    "classification_metrics",
    "comparable_scores",
    "paired_p_value",
    "predicted_classes",
    "summarize",
    "tied_candidates",
]
