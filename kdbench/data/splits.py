"""Which images train and which validate: stratified, and a function of the seed alone, whatever numpy's version."""

from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from kdbench.errors import DataError

Places = NDArray[np.int64]


@final
@dataclass(frozen=True, eq=False)
class Indices:
    """Places in the training images of a data set."""

    train: Places
    validation: Places


def split(labels: NDArray[np.int64], validation: float, split_seed: int, train_samples: int | None = None) -> Indices:
    """Hold out the share `validation` of each class, rounded, and choose `train_samples` of the others.

    A class with two or more images keeps at least one on either side (none is held out if `validation` is 0). The
    images held out do not depend on `train_samples`. A subset is a prefix of any larger one of the same seed, and has
    of each class its share, to within one image. Without `train_samples` the training places ascend.

    Raises:
        DataError: `validation` is not in [0, 1), or `train_samples` is more than there is.
    """
    if not 0 <= validation < 1:
        raise DataError(f"the validation share must be at least 0 and less than 1, got {validation}")
    sizes = np.unique(labels, return_counts=True)[1]
    held = _held_out(sizes, validation)
    groups = np.split(_by_class(labels, split_seed), np.cumsum(sizes)[:-1])
    out = np.sort(np.concatenate([group[:count] for group, count in zip(groups, held, strict=True)]))
    kept = [group[count:] for group, count in zip(groups, held, strict=True)]
    if train_samples is None:
        return Indices(np.sort(np.concatenate(kept)), out)
    return Indices(_subset(kept, train_samples), out)


def hold_out_test(labels: NDArray[np.int64]) -> tuple[Places, Places]:
    """The places that train and, a fifth of each class, those that test, of a data set without an official split.

    This is scikit-learn's `train_test_split` with `random_state=0`, so that anybody can make the same.

    Raises:
        DataError: there are too few images for each class to be on either side.
    """
    from sklearn.model_selection import train_test_split

    try:
        train, test = train_test_split(np.arange(len(labels)), test_size=0.2, random_state=0, stratify=labels)
    except ValueError as error:
        raise DataError(f"a fifth of each class cannot be held out for the test ({error})") from error
    return train, test


def _by_class(labels: NDArray[np.int64], seed: int) -> Places:
    """All places, class by class, shuffled within a class.

    Only the raw stream of a bit generator is promised to stay the same across versions of numpy.
    """
    noise = np.random.PCG64(seed % 2**64).random_raw(len(labels))
    places: Places = np.lexsort((noise, labels))
    return places


def _held_out(sizes: NDArray[np.int64], validation: float) -> NDArray[np.int64]:
    """How many of each class validate."""
    if validation == 0:
        return np.zeros_like(sizes)
    rounded = np.rint(sizes * validation).astype(np.int64)
    held: NDArray[np.int64] = np.minimum(np.maximum(rounded, 1), sizes - 1)
    return held


def _subset(groups: list[Places], count: int) -> Places:
    """`count` places from groups, one group of places a class."""
    total = sum(map(len, groups))
    if not 1 <= count <= total:
        raise DataError(
            f"train_samples is {count}, but there are {total} training images without those that validate; "
            f"give a number from 1 to {total}, or leave it out to use all"
        )
    turns = _turns(np.array([len(group) for group in groups]), count)
    remaining = [iter(group) for group in groups]
    return np.array([next(remaining[turn]) for turn in turns], dtype=np.int64)


def _turns(sizes: NDArray[np.int64], count: int) -> list[int]:
    """Whose turn it is, so that after every turn each class has had its share to within one.

    Of the classes below their share the one goes first that will be a whole image behind it first: Tijdeman's
    solution of the chairman assignment problem (Discrete Mathematics 32, 1980).
    """
    total, taken, turns = int(sizes.sum()), np.zeros_like(sizes), []
    for turn in range(1, count + 1):
        behind = taken * total < turn * sizes
        deadline = np.where(behind, (taken + 1) / sizes, np.inf)
        chosen = int(np.argmin(deadline))
        taken[chosen] += 1
        turns.append(chosen)
    return turns
