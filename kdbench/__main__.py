"""`python -m kdbench`."""

from kdbench.cli.app import app

app(prog_name="kdbench")
