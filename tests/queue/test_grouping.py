"""Grouping of runs into cohorts."""

from collections import Counter
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdbench.queue.grouping import MAX_COHORT_SIZE, group_runs


def names(groups):
    return [[run.spec.hyperparameters["name"] for run in group] for group in groups]


def test_runs_with_the_same_batches_form_a_cohort(queued):
    runs = [queued("a", "x"), queued("b", "y"), queued("c", "x")]
    assert names(group_runs(runs, 1)) == [["a", "c"], ["b"]]


def test_runs_with_different_teachers_are_in_different_cohorts(queued):
    first, second = queued("t1"), queued("t2")
    runs = [queued("a", teacher=first), queued("b", teacher=second), queued("c", teacher=first)]
    assert names(group_runs(runs, 1)) == [["a", "c"], ["b"]]


def test_runs_without_a_teacher_join_the_first_cohort_with_their_batches(queued):
    first, second = queued("t1"), queued("t2")
    runs = [queued("s"), queued("a", teacher=first), queued("b", teacher=second), queued("other", "y")]
    assert names(group_runs(runs, 1)) == [["s", "a"], ["b"], ["other"]]


def test_runs_without_a_teacher_do_not_join_other_batches(queued):
    runs = [queued("s", "x"), queued("a", "y", queued("t"))]
    assert names(group_runs(runs, 1)) == [["s"], ["a"]]


def test_runs_with_different_next_epochs_are_in_different_cohorts(queued):
    teacher = queued("t")
    runs = [queued("s", epoch=3), queued("a", teacher=teacher), queued("b", teacher=teacher, epoch=3), queued("r")]
    assert names(group_runs(runs, 1)) == [["r", "a"], ["s", "b"]]


@pytest.mark.parametrize(
    ("slots", "sizes"), [(1, [5, 2]), (2, [5, 2]), (3, [3, 2, 2]), (4, [2, 1, 2, 2]), (7, [1] * 7), (9, [1] * 7)]
)
def test_the_largest_cohort_is_split_to_fill_the_slots(queued, slots, sizes):
    runs = [queued(str(i), "x") for i in range(5)] + [queued(str(i), "y") for i in range(5, 7)]
    groups = group_runs(runs, slots)
    assert [len(group) for group in groups] == sizes
    assert list(chain.from_iterable(names(groups))) == [str(i) for i in range(7)]


def test_cohorts_have_a_maximum_size(queued):
    groups = group_runs([queued(str(i)) for i in range(2 * MAX_COHORT_SIZE + 3)], 1)
    assert [len(group) for group in groups] == [MAX_COHORT_SIZE, MAX_COHORT_SIZE, 3]


def test_no_runs_give_no_cohorts():
    assert group_runs([], 4) == []


@given(
    st.lists(st.tuples(st.sampled_from("xyz"), st.sampled_from([None, "t1", "t2"])), max_size=40), st.integers(1, 12)
)
def test_every_run_is_in_exactly_one_cohort(queued, kinds, slots):
    teachers = {"t1": queued("t1"), "t2": queued("t2"), None: None}
    runs = [queued(str(i), batches, teachers[teacher]) for i, (batches, teacher) in enumerate(kinds)]
    groups = group_runs(runs, slots)
    assert Counter(list(chain.from_iterable(names(groups)))) == Counter(map(str, range(len(runs))))
    assert all(0 < len(group) <= MAX_COHORT_SIZE for group in groups)
    assert len(groups) >= min(slots, len(runs))
    for group in groups:
        assert len({member.batches for member in group}) == 1
        assert len({member.spec.teacher.id for member in group if member.spec.teacher}) <= 1
