"""What each part of a sum weighs beside the cross-entropy."""

from collections.abc import Iterable, Mapping
from typing import Any

from kdbench.formatting import format_value
from kdbench.reporting.rows import Row
from kdbench.results.index import IndexCell

JOIN = " + "  # between the parts of a sum
RULE = "In a sum the cross-entropy (CE) has weight 1, while a method with alpha has 1 - alpha when it is alone"


def sum_notes(rows: Iterable[Row]) -> tuple[str, ...]:
    """Return a note with the weights of the chosen configurations of all sums; none without a sum."""
    texts: dict[str, list[str]] = {}
    for row in rows:
        for choice in row.choices.values():
            if choice.chosen is not None and JOIN in choice.chosen.method:
                texts.setdefault(row.name, []).append(describe_sum(choice.chosen))
    sums = "; ".join(f"{name}: {' or '.join(dict.fromkeys(found))}" for name, found in texts.items())
    return (f"{RULE}. {sums}.",) if sums else ()


def describe_sum(cell: IndexCell) -> str:
    """Return the weights of a sum's terms, such as "CE + 0.9 vanilla + 25 rkd_da (distance) + 50 rkd_da (angle)"."""
    terms = [term for part in cell.method.split(JOIN) for term in _terms(part, _own(cell.hyperparameters, part))]
    alone = [
        f"{part} alone: {format_value(1 - alpha)} CE"
        for part in cell.method.split(JOIN)
        if (alpha := _own(cell.hyperparameters, part).get("alpha")) is not None
    ]
    return f"{JOIN.join(['CE', *terms])} ({', '.join(alone)})" if alone else JOIN.join(["CE", *terms])


def is_weight(name: str) -> bool:
    """Return whether a hyperparameter is the weight of a term."""
    return name in ("alpha", "beta", "weight") or name.endswith("_weight")


def _own(hyperparameters: Mapping[str, Any], part: str) -> dict[str, Any]:
    """Return the hyperparameters of one part, without its name."""
    prefix = f"{part}."
    return {name.removeprefix(prefix): value for name, value in hyperparameters.items() if name.startswith(prefix)}


def _terms(part: str, hyperparameters: Mapping[str, Any]) -> list[str]:
    weights = {name: value for name, value in hyperparameters.items() if is_weight(name)}
    if not weights:
        return [f"{part} as it is alone"]
    return [f"{format_value(_value(name, weights))} {part}{_suffix(name)}" for name in weights]


def _value(name: str, weights: Mapping[str, Any]) -> Any:
    """Return the weight; a beta that is not given equals alpha."""
    return weights.get("alpha") if name == "beta" and weights[name] is None else weights[name]


def _suffix(name: str) -> str:
    own = name.removesuffix("_weight")
    return "" if own in ("alpha", "weight") else f" ({own})"
