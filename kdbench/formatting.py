"""Numbers and values as text for people."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def format_value(value: object) -> str:
    """Return the value of a hyperparameter or an option as TOML-like text.

    >>> format_value(4.0), format_value([0.1, True]), format_value(None)
    ('4', '[0.1, true]', 'none')
    """
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "none"}[value]
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(format_value, value))}]"
    return str(value)


def format_run(label: str, seed: object, run: str) -> str:
    """Return how a line of text names a run: by its label, its seed and the first digits of its id.

    >>> format_run("vanilla", 1, "3f2a90bc5d6e7f80")
    'vanilla, seed 1 (3f2a90bc)'
    """
    return f"{label}, seed {seed} ({run[:8]})"


def format_configuration(hyperparameters: Mapping[str, Any]) -> str:
    """Return hyperparameters as text.

    >>> format_configuration({"alpha": 0.9, "temperature": 4.0})
    'alpha = 0.9, temperature = 4'
    """
    return ", ".join(f"{name} = {format_value(value)}" for name, value in hyperparameters.items())


def format_count(count: float) -> str:
    """Return a count with three significant digits.

    >>> format_count(512), format_count(2_260_000)
    ('512', '2.26 M')
    """
    for factor, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if count >= 0.9995 * factor:
            return f"{count / factor:.3g} {letter}"
    return f"{count:.0f}"


def count_of(count: int, noun: str) -> str:
    """Return a number with its noun.

    >>> count_of(1, "run"), count_of(3, "run")
    ('1 run', '3 runs')
    """
    return f"{count} {noun}{'' if count == 1 else 's'}"


def list_seeds(noun: str, seeds: Iterable[object]) -> str:
    """Return seeds with their noun.

    >>> list_seeds("seed", [0, 1]), list_seeds("search seed", ["100"])
    ('seeds 0, 1', 'search seed 100')
    """
    names = list(map(str, seeds))
    return f"{noun}{'s' if len(names) > 1 else ''} {', '.join(names)}"


def format_range(values: Sequence[float], digits: int = 0) -> str:
    """Return the smallest and the largest value, or one number if they look the same.

    >>> format_range([1.214, 0.9], digits=2), format_range([5, 5])
    ('0.90 to 1.21', '5')
    """
    texts = [f"{value:.{digits}f}" for value in (min(values), max(values))]
    return " to ".join(dict.fromkeys(texts))


def format_bytes(size: int) -> str:
    """Return a number of bytes in decimal units.

    >>> format_bytes(3_500_000), format_bytes(12)
    ('3.5 MB', '12 bytes')
    """
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size} bytes"


def format_duration(seconds: float) -> str:
    """Return a duration in hours and minutes, minutes and seconds, or seconds.

    >>> format_duration(7_500), format_duration(61.4), format_duration(9)
    ('2 h 05 min', '1 min 01 s', '9 s')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
