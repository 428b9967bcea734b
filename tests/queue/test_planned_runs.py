"""Queued runs as the planning sees them: which can train together, and how long they take."""

from kdbench.queue.costs import RunCost
from kdbench.queue.planned_runs import make_planned_runs

COST = RunCost(own=3.0, shared=2.0, end=1.0)


def plan(*runs, alone=(), needs=()):
    waiting = {run: frozenset(need.id for need in needs if need.id in run.needs) for run in runs}
    return make_planned_runs(waiting, lambda run: COST, alone)


def groups(*runs, **options):
    return [planned.group for planned in plan(*runs, **options)]


def test_the_seconds_are_those_of_the_epochs_left(queued):
    run = queued("a", epoch=2)
    (planned,) = plan(run)
    assert planned.epochs == run.spec.recipe.epochs - 2
    assert planned.own == 3.0 * planned.epochs + 1.0
    assert planned.shared == 2.0 * planned.epochs
    assert planned.id == run.id


def test_runs_with_equal_batches_epoch_and_teacher_train_together(queued):
    teacher = queued("t")
    first, second = (queued(name, teacher=teacher) for name in "ab")
    others = queued("c", "other batches", teacher), queued("d", teacher=teacher, epoch=1), queued("e", teacher=first)
    same, again, *different = groups(first, second, *others)
    assert same == again
    assert len({same, *different}) == 4


def test_a_run_without_a_teacher_joins_a_group_with_one(queued):
    teacher = queued("t")
    scratch, student = queued("a"), queued("b", teacher=teacher)
    first, second = groups(scratch, student)
    assert first == second


def test_a_run_without_a_teacher_does_not_wait_for_one(queued):
    teacher = queued("t")
    scratch, student = queued("a"), queued("b", teacher=teacher)
    trained, first, second = groups(teacher, scratch, student, needs=[teacher])
    assert first == trained != second


def test_a_run_that_must_train_alone_has_a_group_of_its_own(queued):
    first, second, third = map(queued, "abc")
    found = groups(first, second, third, alone={first.id})
    assert found[0] != found[1] == found[2]
