"""A cohort of runs, end to end: the only place where networks, data and methods meet."""
