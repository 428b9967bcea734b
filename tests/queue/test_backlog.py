"""The unfinished runs, as the results folder has them."""

import pytest

from kdbench.queue.backlog import Backlog
from kdbench.results import checkpoints

DONE = {"status": "done", "row": {}}


@pytest.fixture
def backlog(store):
    return Backlog(store)


def test_finished_runs_are_kept_but_not_trained(backlog, store, queued):
    done, failed, pending = map(queued, "abc")
    store.write_result(done.id, DONE)
    store.write_result(failed.id, {"status": "failed", "row": {}})
    backlog.add([done, failed, pending])
    assert list(backlog.unfinished) == [pending.id]
    assert set(backlog.runs) == {done.id, failed.id, pending.id}


def test_a_run_continues_after_its_newest_checkpoint(backlog, store, queued):
    run = queued("a")
    store.folder(run.id).mkdir(parents=True)
    checkpoints.write(store.folder(run.id), 3, b"content", {})
    backlog.add([run])
    assert backlog.unfinished[run.id].epoch == 3


def test_needs_are_open_until_they_are_done(backlog, store, queued):
    teacher = queued("t")
    student = queued("s", teacher=teacher)
    backlog.add([teacher, student])
    assert backlog.open_needs(student) == {teacher.id}
    store.write_result(teacher.id, DONE)
    assert backlog.open_needs(student) == {teacher.id}  # a queued run is not looked up on the disk
    backlog.finish(teacher.id)
    assert not backlog.open_needs(student)


def test_a_failed_need_stays_open(backlog, store, queued):
    teacher = queued("t")
    student = queued("s", teacher=teacher)
    store.write_result(teacher.id, {"status": "failed", "row": {}})
    backlog.add([teacher, student])
    assert backlog.open_needs(student) == {teacher.id}
    assert not backlog.has_ready(())


def test_a_need_outside_the_command_is_looked_up(backlog, store, queued):
    teacher = queued("t")
    student = queued("s", teacher=teacher)
    backlog.add([student])
    assert not backlog.has_ready(())
    store.write_result(teacher.id, DONE)
    assert backlog.has_ready(())


def test_a_run_in_training_is_not_ready(backlog, queued):
    run = queued("a")
    backlog.add([run])
    assert backlog.has_ready(())
    assert not backlog.has_ready({run.id})


def test_a_run_that_another_process_trains_is_not_ready_until_it_is_unlocked(backlog, store, queued):
    run = queued("a")
    backlog.add([run])
    with store.claimed(run.id):
        backlog.take_elsewhere(run.id)
        assert backlog.check_elsewhere() == []
        assert backlog.elsewhere == {run.id}
        assert not backlog.has_ready(())
    assert backlog.check_elsewhere() == []
    assert not backlog.elsewhere
    assert backlog.has_ready(())


def test_a_run_that_another_process_finishes_is_returned(backlog, store, queued):
    run = queued("a")
    backlog.add([run])
    backlog.take_elsewhere(run.id)
    store.write_result(run.id, DONE)
    assert backlog.check_elsewhere() == [run.id]


def test_a_lost_need_is_queued_again(backlog, store, queued):
    teacher = queued("t")
    student = queued("s", teacher=teacher)
    store.write_result(teacher.id, DONE)
    backlog.add([teacher, student])
    assert not backlog.open_needs(student)
    store.clear_result(teacher.id)
    assert backlog.requeue_needs(student.id)
    assert backlog.open_needs(student) == {teacher.id}
    assert set(backlog.unfinished) == {teacher.id, student.id}


def test_nothing_is_queued_again_where_no_need_is_lost(backlog, store, queued):
    teacher = queued("t")
    student = queued("s", teacher=teacher)
    store.write_result(teacher.id, DONE)
    backlog.add([teacher, student])
    assert not backlog.requeue_needs(student.id)
    assert set(backlog.unfinished) == {student.id}
