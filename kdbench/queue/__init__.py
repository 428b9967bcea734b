"""Groups runs into cohorts and trains them in worker processes on device slots. Nothing here imports torch."""
