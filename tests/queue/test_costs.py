"""The cost model: estimates by operations, measurements, and their file."""

import json
from dataclasses import replace

import pytest

from kdbench.events import EpochEnded
from kdbench.matrix import NetworkSpec
from kdbench.queue.costs import NAME, OPERATIONS_PER_SECOND, SECONDS_PER_STEP, START_SECONDS, CostModel, EpochWork


@pytest.fixture
def model(store):
    """`model(*runs, environment, device)`: a cost model that knows some runs."""

    def make(*runs, environment="here", device="cpu"):
        costs = CostModel(store, environment, device)
        for run in runs:
            costs.add(run.spec, run.work)
        return costs

    return make


@pytest.fixture
def teacher(queued):
    return queued("t")


@pytest.fixture
def student(queued, teacher):
    return queued("s", teacher=teacher)


def with_network(run, name):
    return replace(run, spec=replace(run.spec, student=NetworkSpec(name)))


def epoch(*seconds_by_run, shared=0.0):
    """Return the end of an epoch: pairs of a run and its own seconds, and the shared seconds."""
    own = tuple(seconds for _, seconds in seconds_by_run)
    runs = tuple(run.id for run, _ in seconds_by_run)
    return EpochEnded(runs, 1, 9, 0.0, None, 0.0, sum(own) + shared, own)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_before_any_measurement_the_operations_and_steps_count(model, student, device):
    student = replace(student, work=EpochWork(own=6e12, shared=3e12, steps=100))
    cost = model(student, device=device).cost(student.id)
    assert cost.own == pytest.approx(6e12 / OPERATIONS_PER_SECOND[device] + 100 * SECONDS_PER_STEP)
    assert cost.shared == pytest.approx(3e12 / OPERATIONS_PER_SECOND[device])


def test_a_measurement_replaces_the_estimate_of_all_runs_that_are_equal_but_for_hyperparameters(
    model, queued, teacher, student
):
    twin = queued("twin", teacher=teacher)
    costs = model(student, twin)
    costs.observe_epoch(epoch((student, 7.0), shared=3.0))
    for run in (student, twin):
        assert (costs.cost(run.id).own, costs.cost(run.id).shared) == (7.0, 3.0)


def test_later_measurements_count_half(model, student):
    costs = model(student)
    costs.observe_epoch(epoch((student, 8.0), shared=2.0))
    costs.observe_epoch(epoch((student, 4.0), shared=1.0))
    assert (costs.cost(student.id).own, costs.cost(student.id).shared) == (6.0, 1.5)


@pytest.mark.parametrize("change", ["network", "method", "work"])
def test_other_networks_methods_and_data_have_measurements_of_their_own(model, queued, teacher, student, change):
    other = {
        "network": with_network(student, "mlp_16"),
        "method": teacher,
        "work": replace(queued("more images", teacher=teacher), work=EpochWork(6e10, 2e10)),
    }[change]
    costs = model(student, other)
    costs.observe_epoch(epoch((student, 8.0)))
    costs.observe_epoch(epoch((other, 5.0)))
    assert (costs.cost(student.id).own, costs.cost(other.id).own) == (8.0, 5.0)


def test_a_run_without_a_measurement_is_corrected_by_its_student_then_by_all_runs(model, queued, teacher, student):
    small, large = with_network(teacher, "mlp_16"), with_network(student, "mlp_32")
    costs = model(teacher, student, small, large)
    before = costs.cost(student.id)
    assert costs.cost(large.id) == before
    costs.observe_epoch(epoch((teacher, 2 * costs.cost(teacher.id).own)))
    costs.observe_epoch(epoch((small, 8 * before.own)))
    assert costs.cost(student.id).own == pytest.approx(2 * before.own)
    assert costs.cost(student.id).shared == pytest.approx(2 * before.shared)
    assert costs.cost(large.id).own == pytest.approx((2 + 8) / 2 * before.own)


@pytest.mark.parametrize("is_teacherless_first", [True, False])
def test_shared_seconds_are_those_of_the_runs_with_a_teacher(model, teacher, student, is_teacherless_first):
    runs = [(teacher, 2.0), (student, 3.0)]
    costs = model(teacher, student)
    costs.observe_epoch(epoch(*(runs if is_teacherless_first else runs[::-1]), shared=5.0))
    assert (costs.cost(student.id).shared, costs.cost(teacher.id).shared) == (5.0, 0.0)


def test_shared_seconds_are_never_negative(model, student):
    costs = model(student)
    costs.observe_epoch(epoch((student, 2.0), shared=-0.5))
    assert costs.cost(student.id).shared == 0.0


def test_the_start_of_a_job_is_measured(model):
    costs = model()
    assert costs.start_seconds == START_SECONDS
    costs.observe_start(1.0)
    assert costs.start_seconds == 1.0
    costs.observe_start(-1.0)
    assert costs.start_seconds == 0.5


def test_measurements_are_kept_by_environment(model, student):
    before = model(student).cost(student.id)
    for environment, seconds in (("here", 4.0), ("elsewhere", 7.0)):
        costs = model(student, environment=environment)
        assert costs.cost(student.id) == before
        costs.observe_epoch(epoch((student, seconds), shared=1.0))
        costs.save()
    assert model(student).cost(student.id).own == 4.0
    assert model(student, environment="elsewhere").cost(student.id).own == 7.0


def test_the_measurements_of_two_processes_are_both_kept(model, teacher, student):
    first, second = model(teacher, student), model(teacher, student)
    first.observe_epoch(epoch((teacher, 4.0)))
    second.observe_epoch(epoch((student, 7.0)))
    first.save()
    second.save()
    costs = model(teacher, student)
    assert (costs.cost(teacher.id).own, costs.cost(student.id).own) == (4.0, 7.0)


def test_without_a_measurement_no_file_is_written(model, student, store):
    costs = model(student)
    costs.cost(student.id)
    costs.save()
    assert not (store.root / NAME).exists()


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff", b"null", b"[1, 2]", b'{"here": 1}', b'{"here": []}', b"[" * 100_000, b'{"\\ud800": {}}',
     b'{"here": {"\\ud800": 1}}', b'{"elsewhere": {"start": "x"}}'],
    ids=lambda content: content[:30].decode(errors="replace"),
)  # fmt: skip
def test_a_corrupted_file_counts_as_no_measurement_and_is_written_anew(model, student, store, content):
    before = model(student).cost(student.id)
    (store.root / NAME).write_bytes(content)
    costs = model(student)
    assert costs.cost(student.id) == before
    costs.observe_epoch(epoch((student, 4.0)))
    costs.save()
    assert model(student).cost(student.id).own == 4.0


@pytest.mark.parametrize("value", ['"1"', "null", "-1", "NaN", "Infinity", "1e9", "1" + 400 * "0", "[]", "{}", "true"])
def test_an_impossible_time_counts_as_no_measurement(model, student, store, value):
    costs = model(student)
    before = costs.cost(student.id)
    costs.observe_epoch(epoch((student, 4.0), shared=3.0))
    costs.save()
    path = store.root / NAME
    known = json.loads(path.read_text())["here"]
    path.write_text(json.dumps({"here": dict.fromkeys(known, "VALUE")}).replace('"VALUE"', value))
    assert model(student).cost(student.id) == before
