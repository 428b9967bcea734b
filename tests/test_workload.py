"""The workload of a plan: its runs in the queue, and the work of their epochs."""

import pytest
from plans import of_cell, plan_of, with_method

from kdbench.workload import epoch_work, queue_runs, queue_undecided

METHOD = {"vanilla": {"alpha": [0.1, 0.9]}}


def test_a_distilled_run_shares_its_teacher() -> None:
    plan = with_method("vanilla")
    (scratch,) = [cell for cell in plan.cells if cell.label == "scratch" and cell.pair.student == "mlp_16"]
    student, alone = (epoch_work(plan, spec) for spec in (of_cell(plan, "vanilla")[0], scratch.runs[0]))
    assert student.own == alone.own > 0
    assert student.steps == alone.steps == 3  # 90 images in batches of 32
    assert alone.shared == 0
    assert student.shared > student.own  # the teacher is far larger


def test_a_teacher_only_predicts_while_its_student_trains() -> None:
    plan = with_method("vanilla")
    student = of_cell(plan, "vanilla")[0]
    (teacher,) = {run.id: run for _, run in student.needs}.values()
    trained, shared = epoch_work(plan, teacher).own, epoch_work(plan, student).shared
    assert trained > 3 * shared  # forward, backward, and the images that are scored


def test_peers_are_trained_as_well() -> None:
    plan = plan_of(methods={"dml": {}, "vanilla": {}})
    mutual, distilled = (epoch_work(plan, of_cell(plan, label)[0]) for label in ("dml", "vanilla"))
    assert mutual.shared == 0
    assert mutual.own == distilled.own + 3 * distilled.shared  # the peer has the teacher's architecture


def test_more_scored_images_are_more_work() -> None:
    few, many = (plan_of(methods={"vanilla": {}}, protocol={"track_test": track}) for track in (False, True))
    first, second = (epoch_work(plan, of_cell(plan, "vanilla")[0]) for plan in (few, many))
    assert second.own > first.own
    assert second.shared == first.shared


def test_runs_that_share_batches_have_equal_keys() -> None:
    plan = plan_of(methods=METHOD, seeds=[0, 1])
    students = {run.spec.id: run for run in queue_runs(plan, plan.runs) if run.spec.method == "vanilla"}
    by_seed: dict[int, set[str]] = {}
    for run in students.values():
        by_seed.setdefault(run.spec.seed, set()).add(run.batches)
    assert {len(keys) for keys in by_seed.values()} == {1}
    assert by_seed[0] != by_seed[1]


def test_the_runs_of_a_search_wait_for_all_of_it() -> None:
    plan = plan_of(methods=METHOD, protocol={"search_seeds": [7]})
    searched = {run.id for run in plan.runs if run.method == "vanilla" and run.seed == 7}
    expected = queue_undecided(plan)
    assert expected
    assert all(searched <= run.needs for run in expected)
    assert {run.spec.seed for run in expected} == {0, 1}


@pytest.mark.parametrize("after", [(), ("other",)])
def test_runs_wait_for_others_besides_their_needs(after: tuple[str, ...]) -> None:
    plan = with_method("vanilla")
    queued = queue_runs(plan, plan.runs, after)
    assert [run.id for run in queued] == [run.id for run in plan.runs]
    assert all(run.needs == {*after, *(need.id for _, need in run.spec.needs)} for run in queued)
