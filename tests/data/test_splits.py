import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from kdbench.data.splits import hold_out_test, split
from kdbench.errors import DataError


@st.composite
def labels(draw: st.DrawFn) -> np.ndarray:
    """Labels of unbalanced classes in a random order."""
    sizes = draw(st.lists(st.integers(1, 40), min_size=1, max_size=12))
    ordered = np.repeat(np.arange(len(sizes)), sizes)
    return np.random.default_rng(draw(st.integers(0, 99))).permutation(ordered)


seeds = st.integers(0, 1000)
shares = st.one_of(st.just(0.0), st.floats(0, 0.99))


@given(labels(), shares, seeds)
def test_the_parts_are_disjoint_and_complete(labels: np.ndarray, validation: float, seed: int) -> None:
    found = split(labels, validation, seed)
    assert sorted([*found.train, *found.validation]) == list(range(len(labels)))


@given(labels(), shares, seeds)
def test_validation_is_stratified_and_both_parts_contain_every_class(
    labels: np.ndarray, validation: float, seed: int
) -> None:
    found = split(labels, validation, seed)
    for label, size in zip(*np.unique(labels, return_counts=True), strict=True):
        held_out = int((labels[found.validation] == label).sum())
        assert abs(held_out - validation * size) <= 1
        assert held_out < size
        assert (held_out > 0) == (validation > 0 and size > 1)


@given(labels(), shares, seeds, st.data())
def test_subsets_are_nested_and_stratified_and_do_not_change_validation(
    labels: np.ndarray, validation: float, seed: int, data: st.DataObject
) -> None:
    complete = split(labels, validation, seed)
    large = data.draw(st.integers(1, len(complete.train)))
    small = data.draw(st.integers(1, large))
    found, fewer = split(labels, validation, seed, large), split(labels, validation, seed, small)
    assert fewer.train.tolist() == found.train[:small].tolist()
    assert len(set(found.train.tolist())) == large
    assert set(found.train) <= set(complete.train)
    assert found.validation.tolist() == complete.validation.tolist()
    for label in np.unique(labels):
        share = (labels[complete.train] == label).mean()
        assert abs((labels[found.train] == label).sum() - share * large) < 1


@given(labels(), seeds)
def test_the_seed_determines_the_split(labels: np.ndarray, seed: int) -> None:
    first, second = split(labels, 0.3, seed, 1), split(labels, 0.3, seed, 1)
    assert first.train.tolist() == second.train.tolist()
    assert first.validation.tolist() == second.validation.tolist()


def test_seeds_give_different_splits() -> None:
    many = np.repeat([0, 1], 50)
    assert split(many, 0.2, 0).validation.tolist() != split(many, 0.2, 1).validation.tolist()
    assert split(many, 0.2, 0, 20).train.tolist() != split(many, 0.2, 1, 20).train.tolist()


def test_splits_do_not_change_between_versions() -> None:
    found = split(np.repeat([0, 1, 2], [6, 4, 2]), 0.25, 7, 5)
    assert found.validation.tolist() == [3, 4, 6, 11]
    assert found.train.tolist() == [0, 9, 2, 8, 5]


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
def test_an_invalid_share_raises(share: float) -> None:
    with pytest.raises(DataError, match=rf"must be in \[0, 1\), got {share}"):
        split(np.arange(4) % 2, share, 0)


@given(labels(), st.integers(1, 100))
def test_more_samples_than_images_raise_with_both_numbers(labels: np.ndarray, more: int) -> None:
    available = len(split(labels, 0.2, 0).train)
    assume(available > 0)
    with pytest.raises(DataError, match=f"is {available + more}, but there are {available} training images"):
        split(labels, 0.2, 0, available + more)


def test_hold_out_test_holds_out_a_fifth_of_each_class() -> None:
    classes = np.array([0] * 10 + [1] * 25 + [2] * 5)
    train, test = hold_out_test(classes)
    assert sorted([*train, *test]) == list(range(40))
    assert np.bincount(classes[test]).tolist() == [2, 5, 1]
    assert np.array_equal(hold_out_test(classes)[1], test)


def test_a_class_of_one_image_raises() -> None:
    with pytest.raises(DataError, match="a fifth of each class cannot be held out for the test"):
        hold_out_test(np.array([0] * 20 + [1]))
