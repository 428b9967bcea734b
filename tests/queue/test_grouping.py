"""Grouping and splitting."""

from collections import Counter
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdbench.queue.grouping import LARGEST, group_runs


def names(groups):
    return [[item.spec.hyperparameters["name"] for item in group] for group in groups]


def test_runs_that_see_the_same_batches_are_one_cohort(item):
    items = [item("a", "x"), item("b", "y"), item("c", "x")]
    assert names(group_runs(items, 1)) == [["a", "c"], ["b"]]


def test_runs_of_different_teachers_are_apart(item):
    first, second = item("t1"), item("t2")
    items = [item("a", teacher=first), item("b", teacher=second), item("c", teacher=first)]
    assert names(group_runs(items, 1)) == [["a", "c"], ["b"]]


def test_runs_without_a_teacher_join_one_cohort_of_their_batches(item):
    first, second = item("t1"), item("t2")
    items = [item("s"), item("a", teacher=first), item("b", teacher=second), item("other", "y")]
    assert names(group_runs(items, 1)) == [["s", "a"], ["b"], ["other"]]


def test_runs_without_a_teacher_do_not_join_other_batches(item):
    items = [item("s", "x"), item("a", "y", item("t"))]
    assert names(group_runs(items, 1)) == [["s"], ["a"]]


def test_runs_that_are_not_equally_far_are_apart(item):
    teacher = item("t")
    items = [item("s", epoch=3), item("a", teacher=teacher), item("b", teacher=teacher, epoch=3), item("r")]
    assert names(group_runs(items, 1)) == [["r", "a"], ["s", "b"]]


@pytest.mark.parametrize(
    ("slots", "sizes"), [(1, [5, 2]), (2, [5, 2]), (3, [3, 2, 2]), (4, [2, 1, 2, 2]), (7, [1] * 7), (9, [1] * 7)]
)
def test_the_largest_is_split_to_fill_the_slots(item, slots, sizes):
    items = [item(str(i), "x") for i in range(5)] + [item(str(i), "y") for i in range(5, 7)]
    groups = group_runs(items, slots)
    assert [len(group) for group in groups] == sizes
    assert list(chain.from_iterable(names(groups))) == [str(i) for i in range(7)]


def test_no_cohort_is_larger_than_the_largest(item):
    groups = group_runs([item(str(i)) for i in range(2 * LARGEST + 3)], 1)
    assert [len(group) for group in groups] == [LARGEST, LARGEST, 3]


def test_nothing_gives_nothing():
    assert group_runs([], 4) == []


@given(
    st.lists(st.tuples(st.sampled_from("xyz"), st.sampled_from([None, "t1", "t2"])), max_size=40), st.integers(1, 12)
)
def test_every_run_is_in_exactly_one_cohort(item, kinds, slots):
    teachers = {"t1": item("t1"), "t2": item("t2"), None: None}
    items = [item(str(i), batches, teachers[teacher]) for i, (batches, teacher) in enumerate(kinds)]
    groups = group_runs(items, slots)
    assert Counter(list(chain.from_iterable(names(groups)))) == Counter(map(str, range(len(items))))
    assert all(0 < len(group) <= LARGEST for group in groups)
    assert len(groups) >= min(slots, len(items))
    for group in groups:
        assert len({member.batches for member in group}) == 1
        assert len({member.spec.teacher.id for member in group if member.spec.teacher}) <= 1
