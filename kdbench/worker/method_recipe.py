"""How a method deviates from the recipe of its run: other optimizers and schedules, further players."""

from collections.abc import Iterator

from kdbench.training.method import Method, OptimizerSpec


def describe_method_recipe(method: Method) -> str | None:
    """Return the players that train beside the student and what differs from the recipe, or None if nothing does.

    For example "student: schedule cosine, 4 cycles" or "also trains generator; generator: adam with lr = 0.001".
    """
    others = [player for player in method.players() if player != "student"]
    extra = [f"also trains {', '.join(others)}"] if others else []
    changes = {player: ", ".join(_changes(spec)) for player, spec in method.optimizers().items()}
    return "; ".join([*extra, *(f"{player}: {text}" for player, text in changes.items() if text)]) or None


def _changes(spec: OptimizerSpec) -> Iterator[str]:
    if spec.optimizer is not None:
        yield f"{spec.optimizer.name} with lr = {spec.optimizer.lr:g}"
    if spec.schedule is not None:
        yield f"schedule {spec.schedule.name}"
    if spec.cycles > 1:
        yield f"{spec.cycles} cycles"
    if spec.grad_clip_norm is not None:
        yield f"gradient norm at most {spec.grad_clip_norm:g}"
