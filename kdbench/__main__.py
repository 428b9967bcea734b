"""`python -m kdbench`."""

from kdbench.cli import app

app()
