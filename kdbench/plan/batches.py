"""What fixes the batches of a run."""

from kdbench import methods
from kdbench.matrix import RunSpec
from kdbench.matrix.identity import canonical, digest


def batches_key(spec: RunSpec) -> str:
    """Return a key that is equal for runs with the same batches, which can train side by side."""
    classes = [methods.find(part.name) for part in spec.parts]
    views = max(c.views for c in classes)
    recipe = spec.recipe
    shared = recipe.model_dump(
        mode="json", include={"epochs", "batch_size", "augment", "precision", "train_samples", "steps_per_epoch"}
    )
    strong = recipe.model_dump(mode="json", include={"strong_augment"}) if views > 1 else None
    kinds = sorted({c.data for c in classes})
    images = [spec.dataset.canonical, spec.split.canonical, spec.stream_seed]
    return digest(canonical([*images, shared, strong, views, kinds]))
