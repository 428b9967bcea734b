"""What a network is trained on, in a few words, and how two of these differ."""

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

from kdbench.formatting import format_value
from kdbench.results.index import Training

Recipe = Mapping[str, Any]
OPTIONAL = ("strong_augment", "grad_clip_norm", "early_stopping", "steps_per_epoch")  # described only if they are set
SILENT = ("train_samples",)  # the number of training images says it


@final
@dataclass(frozen=True)
class Aspect:
    """One aspect of a training: what is compared, and how it is described."""

    value: Callable[[Training], object]
    describe: Callable[[Training], str]


def describe_difference(one: Training, other: Training, ignored: Collection[str] = ()) -> tuple[str, str]:
    """Return in which aspects two trainings differ, of either one; empty texts if they do not.

    Args:
        one: a training.
        other: the training that it is compared with.
        ignored: keys of the recipe that are not compared, such as "optimizer.lr".
    """
    differing = [aspect for aspect in _aspects(one, other, ignored) if _differs(aspect, one, other)]
    texts = [", ".join(aspect.describe(training) for aspect in differing) for training in (one, other)]
    return texts[0], texts[1]


def describe_recipe(recipe: Recipe) -> str:
    """Return a recipe as one line: epochs, batch size, optimizer, schedule, augmentation, precision, and what is set.

    >>> describe_recipe({"epochs": 3, "batch_size": 32, "optimizer": {"name": "adamw", "lr": 0.01}, "augment": []})
    '3 epochs, batch size 32, adamw (lr 0.01), no augmentation'
    """
    shown = [key for key in DESCRIPTIONS if key in recipe]
    others = [key for key in recipe if key not in DESCRIPTIONS and key not in SILENT]
    texts = (_describe_key(recipe, key) for key in (*shown, *others) if _is_shown(recipe, key))
    return ", ".join(texts)


def _is_shown(recipe: Recipe, key: str) -> bool:
    """Return whether a value has an effect that is not the default's; the monitor has one where training adapts."""
    if key == "monitor":
        return bool(recipe.get("early_stopping")) or recipe.get("schedule", {}).get("name") == "plateau"
    return key not in OPTIONAL or bool(recipe[key])


def _aspects(one: Training, other: Training, ignored: Collection[str]) -> Iterator[Aspect]:
    yield Aspect(_images, lambda training: _describe_images(training, one, other))
    yield Aspect(lambda training: training.validation_images, lambda t: f"{t.validation_images:,} validation images")
    yield Aspect(lambda training: training.initial_weights, _describe_weights)
    yield Aspect(lambda training: training.views, lambda t: f"{_count(t.views, 'view')} of each image in a batch")
    for key in dict.fromkeys([*DESCRIPTIONS, *one.recipe, *other.recipe]):
        if key not in SILENT:
            yield from _aspects_of_key(one, other, key, ignored)
    if not _is_explained(one, other):
        yield Aspect(lambda training: training.steps, lambda t: f"{t.steps:,} optimizer steps")


def _aspects_of_key(one: Training, other: Training, key: str, ignored: Collection[str]) -> Iterator[Aspect]:
    """Yield one aspect, or one per field if both have a table of the same name."""
    mine, others = one.recipe.get(key), other.recipe.get(key)
    if isinstance(mine, Mapping) and isinstance(others, Mapping) and mine.get("name") == others.get("name"):
        for name in dict.fromkeys([*mine, *others]):
            if f"{key}.{name}" not in ignored:
                yield _field_aspect(key, name)
    elif key not in ignored:
        yield Aspect(lambda training: training.recipe.get(key), lambda training: _describe_key(training.recipe, key))


def _field_aspect(key: str, name: str) -> Aspect:
    title = name if key == "optimizer" else f"{key}.{name}"
    return Aspect(
        lambda training: training.recipe[key].get(name),
        lambda training: f"{title} {_value(training.recipe[key].get(name))}",
    )


def _differs(aspect: Aspect, one: Training, other: Training) -> bool:
    return _canonical(aspect.value(one)) != _canonical(aspect.value(other))


def _canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def _is_explained(one: Training, other: Training) -> bool:
    """Return whether the steps differ as the epochs do, so that a reader does not need their number."""
    mine, others = (int(training.recipe.get("epochs", 1)) for training in (one, other))
    return one.steps * others == other.steps * mine


def _images(training: Training) -> tuple[bool, int]:
    return training.reads_images, training.train_images if training.reads_images else 0


def _describe_images(training: Training, one: Training, other: Training) -> str:
    if not training.reads_images:
        return "no training images"
    number = f"{training.train_images:,} images"
    return number if one.available_images == other.available_images else f"{number} of {training.available_images:,}"


def _describe_weights(training: Training) -> str:
    if not training.initial_weights:
        return "random initial weights"
    start = "pretrained" if training.initial_weights == "pretrained" else f"weights from {training.initial_weights}"
    return f"{start} at the start (the images that these have seen are not known)"


def _describe_key(recipe: Recipe, key: str) -> str:
    value = recipe.get(key)
    return DESCRIPTIONS[key](value) if key in DESCRIPTIONS else f"{key} {_value(value)}"


def _describe_optimizer(optimizer: Mapping[str, Any]) -> str:
    return _with_fields(optimizer["name"], _shown_fields(optimizer))


def _describe_schedule(schedule: Mapping[str, Any]) -> str:
    return _with_fields(f"{schedule['name']} schedule", _shown_fields(schedule))


def _describe_augment(augment: Sequence[Mapping[str, Any]]) -> str:
    return " + ".join(_describe_optimizer(one) for one in augment) or "no augmentation"


def _shown_fields(table: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value
        for name, value in table.items()
        if name != "name" and not (name in HIDDEN and _canonical(value) == _canonical(HIDDEN[name]))
    }


def _with_fields(name: str, fields: Mapping[str, Any]) -> str:
    text = ", ".join(f"{key} {_value(value)}" for key, value in fields.items())
    return f"{name} ({text})" if text else name


def _describe_table(title: str) -> Callable[[Any], str]:
    return lambda table: _with_fields(title, table) if table else f"no {title}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _value(value: object) -> str:
    if isinstance(value, Mapping):
        return _with_fields("", value).strip()
    return format_value(value)


HIDDEN: Mapping[str, object] = {  # fields that are not described if they have their default
    "betas": (0.9, 0.999),
    "nesterov": False,
    "warmup": 0.0,
    "min_lr_ratio": 0.0,
    "pct_start": 0.3,
    "div_factor": 25.0,
    "final_div_factor": 1e4,
    "cycle_momentum": False,
    "base_momentum": 0.85,
    "max_momentum": 0.95,
}
DESCRIPTIONS: Mapping[str, Callable[[Any], str]] = {
    "epochs": lambda epochs: _count(epochs, "epoch"),
    "batch_size": lambda size: f"batch size {size:,}",
    "optimizer": _describe_optimizer,
    "schedule": _describe_schedule,
    "augment": _describe_augment,
    "strong_augment": lambda augment: f"second view: {_describe_augment(augment)}",
    "precision": str,
    "grad_clip_norm": lambda norm: "no gradient clipping" if norm is None else f"gradient norm at most {norm:g}",
    "early_stopping": _describe_table("early stopping"),
    "steps_per_epoch": lambda steps: "steps per epoch by the images" if steps is None else f"{steps} steps per epoch",
}
