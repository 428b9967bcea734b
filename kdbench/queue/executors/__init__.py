"""Executors run jobs: `base` is the interface, `local` uses this machine, `ray` a cluster."""
