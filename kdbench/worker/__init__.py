"""Trains a cohort of runs end to end: builds the networks and the method, reads the data, writes the results."""
