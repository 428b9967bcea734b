"""Stratified splits into training and validation images: functions of the seed alone, with any version of numpy."""

from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from kdbench.errors import DataError

IndexArray = NDArray[np.int64]


@final
@dataclass(frozen=True, eq=False)
class Indices:
    """Indices (N,) into the training images of a data set."""

    train: IndexArray
    validation: IndexArray


def split(labels: NDArray[np.int64], validation: float, split_seed: int, train_samples: int | None = None) -> Indices:
    """Hold out the share `validation` of each class, rounded, and choose `train_samples` of the remaining images.

    A class with two or more images keeps at least one in each part (none is held out if `validation` is 0). The
    validation images do not depend on `train_samples`. A subset is a prefix of any larger one with the same seed, and
    contains the share of each class to within one image. Without `train_samples` the training indices are ascending.

    Raises:
        DataError: `validation` is not in [0, 1), or `train_samples` exceeds the number of remaining images.
    """
    if not 0 <= validation < 1:
        raise DataError(f"the share of validation images must be in [0, 1), got {validation}")
    sizes = np.unique(labels, return_counts=True)[1]
    held_out = _validation_sizes(sizes, validation)
    groups = np.split(_shuffle_by_class(labels, split_seed), np.cumsum(sizes)[:-1])
    chosen = np.sort(np.concatenate([group[:count] for group, count in zip(groups, held_out, strict=True)]))
    remaining = [group[count:] for group, count in zip(groups, held_out, strict=True)]
    if train_samples is None:
        return Indices(np.sort(np.concatenate(remaining)), chosen)
    return Indices(_choose_stratified(remaining, train_samples), chosen)


def hold_out_test(labels: NDArray[np.int64]) -> tuple[IndexArray, IndexArray]:
    """Return training and test indices for a data set without an official split: a fifth of each class is test.

    This is scikit-learn's `train_test_split` with `random_state=0`, so that everyone can reproduce it.

    Raises:
        DataError: a class has too few images to be in both parts.
    """
    from sklearn.model_selection import train_test_split

    try:
        train, test = train_test_split(np.arange(len(labels)), test_size=0.2, random_state=0, stratify=labels)
    except ValueError as error:
        raise DataError(f"a fifth of each class cannot be held out for the test ({error})") from error
    return train, test


def _shuffle_by_class(labels: NDArray[np.int64], seed: int) -> IndexArray:
    """Return all indices, sorted by class and shuffled within each class.

    Of numpy's generators, only the raw output of a bit generator is guaranteed to be the same in all versions.
    """
    noise = np.random.PCG64(seed % 2**64).random_raw(len(labels))
    indices: IndexArray = np.lexsort((noise, labels))
    return indices


def _validation_sizes(sizes: NDArray[np.int64], validation: float) -> NDArray[np.int64]:
    """Return the number of validation images of each class."""
    if validation == 0:
        return np.zeros_like(sizes)
    rounded = np.rint(sizes * validation).astype(np.int64)
    held_out: NDArray[np.int64] = np.minimum(np.maximum(rounded, 1), sizes - 1)
    return held_out


def _choose_stratified(groups: list[IndexArray], count: int) -> IndexArray:
    """Choose `count` indices from groups of indices, one group per class."""
    total = sum(map(len, groups))
    if not 1 <= count <= total:
        raise DataError(
            f"train_samples is {count}, but there are {total} training images without the validation images; "
            f"set it to a number from 1 to {total}, or remove it to use all"
        )
    order = _class_order(np.array([len(group) for group in groups]), count)
    remaining = [iter(group) for group in groups]
    return np.array([next(remaining[label]) for label in order], dtype=np.int64)


def _class_order(sizes: NDArray[np.int64], count: int) -> list[int]:
    """Return the class of each choice, such that each prefix contains the share of each class to within one.

    Among the classes below their share, the class that will first be a full image below it is next: Tijdeman's
    solution of the chairman assignment problem (Discrete Mathematics 32, 1980).
    """
    total, taken, order = int(sizes.sum()), np.zeros_like(sizes), []
    for choice in range(1, count + 1):
        is_behind = taken * total < choice * sizes
        deadline = np.where(is_behind, (taken + 1) / sizes, np.inf)
        chosen = int(np.argmin(deadline))
        taken[chosen] += 1
        order.append(chosen)
    return order
