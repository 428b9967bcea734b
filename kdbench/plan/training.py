"""What the runs of a cell are trained on, and for how long."""

from kdbench import methods
from kdbench.data.run_images import count_steps
from kdbench.matrix import RunSpec
from kdbench.matrix.identity import canonical, digest


def training_key(spec: RunSpec) -> str:
    """Return a key that is equal for runs with the same data, validation fraction, recipe, steps and start."""
    start = spec.student.start, spec.student.weights
    data = [spec.dataset.canonical, spec.split.validation, reads_images(spec), views(spec)]
    return digest(canonical([*data, spec.recipe.canonical, *start]))


def planned_steps(spec: RunSpec, train_images: int) -> int:
    """Return the optimizer steps of a run without early stopping."""
    return spec.recipe.epochs * count_steps(spec.recipe, train_images, reads_images(spec))


def reads_images(spec: RunSpec) -> bool:
    """Return whether any method of a run reads training images."""
    return any(methods.find(part.name).data == "train" for part in spec.parts)


def views(spec: RunSpec) -> int:
    """Return the number of views of each training image in a batch."""
    return max(methods.find(part.name).views for part in spec.parts)
