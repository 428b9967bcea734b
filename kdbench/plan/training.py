"""What the runs of a cell are trained on, and for how long."""

from kdbench import methods
from kdbench.data.run_images import count_steps
from kdbench.matrix import RunSpec
from kdbench.matrix.identity import canonical, digest


def training_key(spec: RunSpec) -> str:
    """Return a key that is equal for runs with the same data, validation fraction, recipe and number of steps."""
    return digest(canonical([spec.dataset.canonical, spec.split.validation, spec.recipe.canonical, reads_images(spec)]))


def planned_steps(spec: RunSpec, train_images: int) -> int:
    """Return the optimizer steps of a run without early stopping."""
    return spec.recipe.epochs * count_steps(spec.recipe, train_images, reads_images(spec))


def reads_images(spec: RunSpec) -> bool:
    """Return whether any method of a run reads training images."""
    return any(methods.find(part.name).data == "train" for part in spec.parts)
