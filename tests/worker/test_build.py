"""Networks and methods from specs."""

from dataclasses import replace

import pytest
import torch

from kdbench import models
from kdbench.errors import CorruptedError, ResultsError
from kdbench.matrix import NetworkSpec
from kdbench.training.method import Task
from kdbench.training.network import Frozen
from kdbench.worker.build import Teachers, build_method, trained_weights

CPU, TASK = torch.device("cpu"), Task(10, 100, (1, 8, 8), 50)


def method(spec, teacher_of=lambda need: Frozen(models.build_from_spec(need.student, TASK))):
    return build_method(spec, TASK, CPU, teacher_of)


@pytest.fixture(scope="module")
def specs(plan_of):
    plan = plan_of({"vanilla": {}, "fitnets": {}, "dml": {}, "born_again": {}}, pair=("cnn_6_6", "cnn_4_4"))
    return {cell.label: cell.runs[0] for cell in plan.cells if cell.kind != "teacher"}


def same(first, second):
    return all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_all_methods_of_a_seed_start_from_the_same_student(specs):
    students = {label: method(spec).student for label, spec in specs.items()}
    assert len(students) == 5
    assert all(same(students["vanilla"], student) for student in students.values())


def test_the_first_weights_do_not_depend_on_who_drew_random_numbers_before(specs):
    """A teacher that was loaded before, for another member of the cohort, draws none."""
    loaded = Frozen(models.build_from_spec(specs["fitnets"].teacher.student, TASK))
    torch.manual_seed(1)
    first = method(specs["fitnets"])
    torch.manual_seed(2)
    second = method(specs["fitnets"], lambda need: loaded)
    assert len(list(first.regressor.parameters())) > 0
    assert same(first.regressor, second.regressor)
    assert same(first.student, second.student)


def test_building_leaves_the_outer_random_stream_alone(specs):
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    method(specs["dml"])
    assert torch.equal(torch.rand(3), expected)


def test_peers_are_new_networks_of_the_teachers_architecture(specs):
    (peer,) = method(specs["dml"]).peers
    assert peer.stages[0].conv.out_channels == 6
    assert same(peer, method(specs["dml"]).peers[0])


def test_older_generations_come_in_their_order(specs):
    """By number: as text, "teachers.10" stands before "teachers.2"."""
    asked, scratch = {}, specs["scratch"]

    def teacher_of(need):
        return asked.setdefault(need.seed, Frozen(models.build_from_spec(need.student, TASK)))

    needs = {"teacher": replace(scratch, seed=99)} | {f"teachers.{i}": replace(scratch, seed=i) for i in range(12)}
    built = method(replace(specs["born_again"], needs=tuple(sorted(needs.items()))), teacher_of)
    assert [older is asked[i] for i, older in enumerate(built.teachers)] == [True] * 12
    assert built.teacher is asked[99]


def test_a_finished_run_is_loaded_once_and_frozen(specs, store, train):
    teacher = specs["vanilla"].teacher
    train(store, teacher)
    teachers = Teachers(store, TASK, CPU)
    frozen = teachers(teacher)
    assert teachers(teacher) is frozen
    assert not any(parameter.requires_grad for parameter in frozen.parameters())
    on_disk = trained_weights(store, teacher.id)
    assert all(torch.equal(on_disk[key], value) for key, value in frozen.network.state_dict().items())


@pytest.mark.parametrize("content", [None, b"", b"not weights"])
def test_a_corrupted_teacher_is_put_aside(specs, store, train, content):
    teacher = specs["vanilla"].teacher
    train(store, teacher)
    file = store.folder(teacher.id) / "weights.safetensors"
    file.unlink() if content is None else file.write_bytes(content)
    with pytest.raises(CorruptedError) as caught:
        Teachers(store, TASK, CPU)(teacher)
    aside = store.root / "quarantine" / f"{teacher.id}-1"
    assert str(caught.value).startswith(f"the run {teacher.id} is corrupted: weights.safetensors ")
    assert str(caught.value).endswith(f"moved to {aside}; the run is pending again; runs that need it are pending")
    assert (aside / "result.json").exists()
    assert store.state(teacher.id) == "pending"


def test_a_corrupted_teacher_that_another_process_holds_stays(specs, store, train):
    teacher = specs["vanilla"].teacher
    train(store, teacher)
    (store.folder(teacher.id) / "weights.safetensors").unlink()
    with store.claimed(teacher.id), pytest.raises(CorruptedError, match="another process retrains it"):
        Teachers(store, TASK, CPU)(teacher)
    assert (store.folder(teacher.id) / "result.json").exists()


def test_weights_that_are_not_there_are_named_with_the_remedy(store):
    file = store.folder("0123") / "weights.safetensors"
    with pytest.raises(ResultsError) as caught:
        trained_weights(store, "0123")
    assert str(caught.value).startswith(f"{file}: cannot be read (")
    assert str(caught.value).endswith("; run `kdbench reindex --deep`, then run the matrix again")


def test_a_network_fits_its_task():
    network = models.build_from_spec(NetworkSpec("mlp_7"), TASK)
    assert network.image_shape == (1, 8, 8)
    assert network.head.out_features == 10
