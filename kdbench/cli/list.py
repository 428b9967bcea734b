"""`kdbench list`: the methods, networks and data sets."""

import inspect
from collections.abc import Callable
from typing import Any, Literal

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markdown import Markdown
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from kdbench.citation import short_citation
from kdbench.errors import DataError, NetworkError, did_you_mean
from kdbench.formatting import format_value
from kdbench.hyperparameters import Hyperparameter, declared, roles

Catalog = Literal["methods", "networks", "datasets"]
Entry = dict[str, Any]  # title -> text, or a list of rows that are printed as a table
READS = {
    "logits": "the logits of both networks",
    "embedding": "the logits and embeddings of both networks",
    "maps": "the logits, embeddings and feature maps of both networks",
    "all": "all outputs of both networks",
}


def print_list(catalog: Catalog, name: str | None, as_json: bool, console: Console) -> None:
    """Print one line per entry of a catalog, or the details of the entry `name`.

    Raises:
        KdbenchError: the catalog has no such entry.
    """
    if name is None:
        lines = {"methods": _methods, "networks": _networks, "datasets": _datasets}[catalog]()
        if as_json:
            console.print_json(data=lines)
        else:
            console.print(_table(lines))
        return
    describe: dict[str, Callable[[str], Entry]] = {"methods": _method, "networks": _network, "datasets": _dataset}
    entry = describe[catalog](name)
    if as_json:
        console.print_json(data=entry)
    else:
        _print_entry(entry, console)


def _methods() -> list[Entry]:
    from kdbench.methods import METHODS, family, short_paper

    return [{"method": key, "family": _readable(family(key)), "paper": short_paper(key)} for key in METHODS]


def _method(name: str) -> Entry:
    from kdbench.methods import family, find
    from kdbench.methods.offline import Offline

    method = find(name)
    needed = [role if required else f"{role} (optional)" for role, required in roles(method).items()]
    return {
        "method": name,
        "family": _readable(family(name)),
        "paper": method.paper,
        "description": inspect.cleandoc(method.__doc__ or ""),
        "needs": ", ".join(needed),
        "reads": READS[method.reads] if issubclass(method, Offline) else "see the description",
        "views": f"{method.views} augmented per image" if method.views > 1 else "1 per image",
        "training images": {"train": "yes", "record": "no, a record of the teacher", "none": "no"}[method.data],
        "hyperparameters": _drop_empty(list(map(_hyperparameter, declared(method).values()))),
    }


def _readable(key: str) -> str:
    return key.replace("_", " ")


def _hyperparameter(parameter: Hyperparameter) -> dict[str, str]:
    tune = parameter.tune
    return {
        "name": parameter.name,
        "type": parameter.describe(),
        "default": _default(parameter),
        "tune searches": f"{tune.low:g} to {tune.high:g}{', log' if tune.log else ''}" if tune else "",
        "only with": str(parameter.when or ""),
    }


def _default(parameter: Hyperparameter) -> str:
    if parameter.is_required:
        return "required"
    cases = parameter.default_by.cases if parameter.default_by else ()
    special = [f"; {format_value(default)} with {name} = {value!r}" for name, value, default in cases]
    return format_value(parameter.default) + "".join(special)


def _drop_empty(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """Return rows without the columns in which no row has text."""
    return [{title: text for title, text in row.items() if any(other[title] for other in rows)} for row in rows]


def _networks() -> list[Entry]:
    from kdbench import models

    return [
        {"network": family.pattern, "for example": family.examples[0], "paper": short_citation(family.paper)}
        for family in models.FAMILIES
    ]


def _network(name: str) -> Entry:
    from kdbench import models

    for family in models.FAMILIES:
        if name in (family.pattern, *family.examples) or family.nearest_name(name) == name:
            return {
                "network": family.pattern,
                "names": family.rule,
                "for example": ", ".join(family.examples),
                "description": family.description,
                "paper": family.paper,
            }
    nearest = [found for family in models.FAMILIES if (found := family.nearest_name(name))]
    known = nearest or [example for family in models.FAMILIES for example in family.examples]
    raise NetworkError(f"unknown network '{name}'; {did_you_mean(name, known)}")


def _datasets() -> list[Entry]:
    from kdbench import data

    return [
        {
            "data set": kind.name,
            "description": kind.description.partition(";")[0],
            "source": short_citation(kind.source),
        }
        for kind in data.DATASETS.values()
    ]


def _dataset(name: str) -> Entry:
    from kdbench import data

    if name not in data.DATASETS:
        raise DataError(f"unknown data set '{name}'; {did_you_mean(name, data.DATASETS)}")
    kind = data.DATASETS[name]
    described = [_hyperparameter(option) for option in kind.options.values()]
    return {
        "data set": kind.name,
        "description": kind.description,
        "source": kind.source,
        "root": kind.layout or "not used",
        "options": [{key: row[key] for key in ("name", "type", "default")} for row in described],
    }


def _table(rows: list[dict[str, str]]) -> Table:
    grid = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for position, title in enumerate(rows[0]):
        grid.add_column(title, overflow="fold", no_wrap=position == 0)
    for row in rows:
        grid.add_row(*map(Text, row.values()))
    return grid


def _print_entry(entry: Entry, console: Console) -> None:
    grid = Table.grid(padding=(0, 2))
    rows = {title: value for title, value in entry.items() if isinstance(value, list)}
    for title, value in entry.items():
        if title not in rows and title != "description":
            grid.add_row(Text(title, style="dim"), Text(str(value), overflow="fold"))
    console.print(grid)
    console.print(Padding(Markdown(entry["description"]), (1, 0)))
    for title, found in rows.items():
        console.print(Text(title if found else f"{title}: none", style="dim"))
        if found:
            console.print(Padding(_table(found), (0, 0, 0, 2)))
