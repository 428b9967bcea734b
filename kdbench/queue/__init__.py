"""Runs -> cohorts -> worker processes on devices. Nothing here imports torch."""
