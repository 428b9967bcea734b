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
def test_the_parts_are_disjoint_and_whole(labels: np.ndarray, validation: float, seed: int) -> None:
    found = split(labels, validation, seed)
    assert sorted([*found.train, *found.validation]) == list(range(len(labels)))


@given(labels(), shares, seeds)
def test_validation_is_stratified_and_leaves_images_on_both_sides(
    labels: np.ndarray, validation: float, seed: int
) -> None:
    found = split(labels, validation, seed)
    for label, size in zip(*np.unique(labels, return_counts=True), strict=True):
        held = int((labels[found.validation] == label).sum())
        assert abs(held - validation * size) <= 1
        assert held < size
        assert (held > 0) == (validation > 0 and size > 1)


@given(labels(), shares, seeds, st.data())
def test_subsets_are_nested_stratified_and_leave_validation_alone(
    labels: np.ndarray, validation: float, seed: int, data: st.DataObject
) -> None:
    whole = split(labels, validation, seed)
    large = data.draw(st.integers(1, len(whole.train)))
    small = data.draw(st.integers(1, large))
    found, fewer = split(labels, validation, seed, large), split(labels, validation, seed, small)
    assert fewer.train.tolist() == found.train[:small].tolist()
    assert len(set(found.train.tolist())) == large
    assert set(found.train) <= set(whole.train)
    assert found.validation.tolist() == whole.validation.tolist()
    for label in np.unique(labels):
        share = (labels[whole.train] == label).mean()
        assert abs((labels[found.train] == label).sum() - share * large) < 1


@given(labels(), seeds)
def test_a_seed_fixes_the_split(labels: np.ndarray, seed: int) -> None:
    first, second = split(labels, 0.3, seed, 1), split(labels, 0.3, seed, 1)
    assert first.train.tolist() == second.train.tolist()
    assert first.validation.tolist() == second.validation.tolist()


def test_seeds_give_different_splits() -> None:
    many = np.repeat([0, 1], 50)
    assert split(many, 0.2, 0).validation.tolist() != split(many, 0.2, 1).validation.tolist()
    assert split(many, 0.2, 0, 20).train.tolist() != split(many, 0.2, 1, 20).train.tolist()


def test_a_split_stays_what_it_was() -> None:
    found = split(np.repeat([0, 1, 2], [6, 4, 2]), 0.25, 7, 5)
    assert found.validation.tolist() == [3, 4, 6, 11]
    assert found.train.tolist() == [0, 9, 2, 8, 5]


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
def test_an_impossible_share_is_refused(share: float) -> None:
    with pytest.raises(DataError, match=f"at least 0 and less than 1, got {share}"):
        split(np.arange(4) % 2, share, 0)


@given(labels(), st.integers(1, 100))
def test_more_images_than_there_are_are_refused_with_both_numbers(labels: np.ndarray, more: int) -> None:
    there = len(split(labels, 0.2, 0).train)
    assume(there > 0)
    with pytest.raises(DataError, match=f"is {there + more}, but there are {there} training images"):
        split(labels, 0.2, 0, there + more)


def test_a_fifth_of_each_class_is_held_out_for_the_test() -> None:
    classes = np.array([0] * 10 + [1] * 25 + [2] * 5)
    train, test = hold_out_test(classes)
    assert sorted([*train, *test]) == list(range(40))
    assert np.bincount(classes[test]).tolist() == [2, 5, 1]
    assert np.array_equal(hold_out_test(classes)[1], test)


def test_a_class_of_one_image_cannot_be_on_either_side() -> None:
    with pytest.raises(DataError, match="a fifth of each class cannot be held out for the test"):
        hold_out_test(np.array([0] * 20 + [1]))
