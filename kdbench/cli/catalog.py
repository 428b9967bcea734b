"""`kdbench list`: methods, networks, data sets."""

from typing import Literal

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

WHOLE = ("method", "family", "hyperparameter", "tune searches")  # columns of names that users copy, and of ranges


def print_catalog(what: Literal["methods", "networks", "datasets"], console: Console) -> None:
    """Print one of the catalogs."""
    tables = {"methods": _methods, "networks": _networks, "datasets": _datasets}
    console.print(tables[what]())


def _methods() -> Table:
    from kdbench.hyperparameters import Tune, declared
    from kdbench.methods import METHODS

    def searched(tune: Tune | None) -> str:
        return f"{tune.low:g} to {tune.high:g}{', log' if tune.log else ''}" if tune else "·"

    grid = _grid("method", "family", "hyperparameter", "type", "default", "tune searches", "paper")
    for name, method in METHODS.items():
        family = method.__module__.split(".")[2]
        rows = [(p.name, p.describe(), str(p.default), searched(p.tune)) for p in declared(method).values()]
        for place, row in enumerate(rows or [("·", "·", "·", "·")]):
            last = place == max(0, len(rows) - 1)
            first = (name, family) if place == 0 else ("", "")
            grid.add_row(*map(Text, (*first, *row, method.paper if place == 0 else "")), end_section=last)
    return grid


def _networks() -> Table:
    from kdbench import models

    grid = _grid("network", "for example", "what it is", "paper")
    for family in models.FAMILIES:
        grid.add_row(*map(Text, (family.pattern, ", ".join(family.examples[:4]), family.description, family.paper)))
    return grid


def _datasets() -> Table:
    from kdbench import data

    grid = _grid("data set", "what it is", "options", "source")
    for kind in data.DATASETS.values():
        grid.add_row(*map(Text, (kind.name, kind.description, ", ".join(kind.options), kind.source)))
    return grid


def _grid(*titles: str) -> Table:
    grid = Table(box=SIMPLE_HEAD, collapse_padding=True, pad_edge=False, show_edge=False)
    for title in titles:
        grid.add_column(title, overflow="fold", no_wrap=title in WHOLE)
    return grid
