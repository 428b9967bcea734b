"""Means, spreads, tests and choices: pure functions of frames of scores (a row a seed, a column a candidate)."""

from kdbench.analysis.choice import best, leaders
from kdbench.analysis.statistics import Summary, p_value, summary

__all__ = ["Summary", "best", "leaders", "p_value", "summary"]
