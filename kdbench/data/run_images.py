"""Which images a run trains on, and in how many steps."""

from kdbench.data import splits
from kdbench.data.dataset import Dataset
from kdbench.data.dataset_info import DatasetInfo
from kdbench.data.splits import Indices
from kdbench.matrix.recipe import Recipe
from kdbench.matrix.spec import Split


def split_images(loaded: Dataset | DatasetInfo, split: Split, recipe: Recipe) -> Indices:
    """Return the indices of the training and the validation images of a run."""
    return splits.split(loaded.train_labels, split.validation, split.split_seed, recipe.train_samples)


def count_steps(recipe: Recipe, train_images: int, reads_images: bool) -> int:
    """Return the number of batches per epoch; only complete batches of training images count."""
    complete = train_images // recipe.batch_size
    return complete if reads_images else recipe.steps_per_epoch or max(1, complete)
