"""Build networks and methods from specs."""

from dataclasses import replace

import pytest
import torch

from kdbench import models
from kdbench.errors import CorruptedError, ResultsError, TrainingError
from kdbench.matrix import NetworkSpec
from kdbench.training.method import Task
from kdbench.training.network import Frozen
from kdbench.worker.build import Teachers, build_method, load_trained_weights

CPU, TASK = torch.device("cpu"), Task(10, 100, (1, 8, 8), 50)


def method(spec, teacher_of=lambda need: Frozen(models.build_from_spec(need.student, TASK))):
    return build_method(spec, TASK, CPU, teacher_of)


@pytest.fixture(scope="module")
def specs(plan_of):
    plan = plan_of({"vanilla": {}, "fitnets": {}, "dml": {}, "born_again": {}}, pair=("cnn_6_6", "cnn_4_4"))
    return {cell.label: cell.runs[0] for cell in plan.cells if cell.kind != "teacher"}


def same(first, second):
    return all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_all_methods_of_a_seed_have_the_same_initial_student(specs):
    students = {label: method(spec).student for label, spec in specs.items()}
    assert len(students) == 5
    assert all(same(students["vanilla"], student) for student in students.values())


def test_a_teacher_has_other_initial_weights_than_a_student_with_its_network_recipe_and_seed(plan_of):
    plan = plan_of({"vanilla": {}}, pair=("mlp_8", "mlp_8"))
    teacher, scratch, vanilla = (cell.runs[0] for cell in plan.cells)
    assert (teacher.student, teacher.recipe, teacher.seed) == (scratch.student, scratch.recipe, scratch.seed)
    assert same(method(scratch).student, method(vanilla).student)
    assert not any(
        torch.equal(a, b) and a.std() > 0
        for a, b in zip(method(teacher).student.parameters(), method(vanilla).student.parameters(), strict=True)
    )


def test_initial_weights_do_not_depend_on_earlier_random_numbers(specs):
    """For example, a teacher that was loaded earlier for another member draws none."""
    loaded = Frozen(models.build_from_spec(specs["fitnets"].teacher.student, TASK))
    torch.manual_seed(1)
    first = method(specs["fitnets"])
    torch.manual_seed(2)
    second = method(specs["fitnets"], lambda need: loaded)
    assert len(list(first.regressor.parameters())) > 0
    assert same(first.regressor, second.regressor)
    assert same(first.student, second.student)


def test_building_restores_the_global_random_state(specs):
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    method(specs["dml"])
    assert torch.equal(torch.rand(3), expected)


def test_peers_have_the_teachers_architecture(specs):
    (peer,) = method(specs["dml"]).peers
    assert peer.stages[0].conv.out_channels == 6
    assert same(peer, method(specs["dml"]).peers[0])


def test_older_generations_are_sorted_by_number(specs):
    """As text, "teachers.10" precedes "teachers.2"."""
    networks, scratch = {}, specs["scratch"]

    def teacher_of(need):
        return networks.setdefault(need.seed, Frozen(models.build_from_spec(need.student, TASK)))

    needs = {"teacher": replace(scratch, seed=99)} | {f"teachers.{i}": replace(scratch, seed=i) for i in range(12)}
    built = method(replace(specs["born_again"], needs=tuple(sorted(needs.items()))), teacher_of)
    assert [older is networks[i] for i, older in enumerate(built.teachers)] == [True] * 12
    assert built.teacher is networks[99]


def test_a_finished_run_is_loaded_once_and_frozen(specs, store, train):
    teacher = specs["vanilla"].teacher
    train(store, teacher)
    teachers = Teachers(store, TASK, CPU)
    frozen = teachers(teacher)
    assert teachers(teacher) is frozen
    assert not any(parameter.requires_grad for parameter in frozen.parameters())
    on_disk = load_trained_weights(store, teacher.id)
    assert all(torch.equal(on_disk[key], value) for key, value in frozen.network.state_dict().items())


OWN = """
from own_helper import WIDTH
from kdbench import models

def make(*, num_classes, image_shape):
    return models.build(f"mlp_{WIDTH}", num_classes=num_classes, image_shape=image_shape)
"""


def test_own_code_that_has_changed_since_planning_is_refused(specs, store, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "own_factory.py").write_text(OWN)
    helper = tmp_path / "own_helper.py"
    helper.write_text("WIDTH = 4\n")
    source = models.source_hash("own_factory:make")
    spec = replace(specs["scratch"], student=NetworkSpec("mine", "own_factory:make", source=source))
    method(spec)
    helper.write_text("WIDTH = 5\n")
    changed = "network 'mine' has changed since the run .*; run the matrix again"
    with pytest.raises(TrainingError, match=changed):
        method(spec)
    with pytest.raises(TrainingError, match=changed):
        Teachers(store, TASK, CPU)(spec)


@pytest.mark.parametrize("content", [None, b"", b"not weights"])
def test_a_corrupted_teacher_is_quarantined(specs, store, train, content):
    teacher = specs["vanilla"].teacher
    train(store, teacher)
    file = store.folder(teacher.id) / "weights.safetensors"
    file.unlink() if content is None else file.write_bytes(content)
    with pytest.raises(CorruptedError) as caught:
        Teachers(store, TASK, CPU)(teacher)
    quarantined = store.root / "quarantine" / f"{teacher.id}-1"
    assert str(caught.value).startswith(f"the run {teacher.id} is corrupted: weights.safetensors ")
    assert str(caught.value).endswith("; runs that need it are pending")
    assert f"moved to {quarantined}" in str(caught.value)
    assert (quarantined / "result.json").exists()
    assert store.state(teacher.id) == "pending"


def test_a_corrupted_teacher_locked_by_another_process_is_not_moved(specs, store, train):
    teacher = specs["vanilla"].teacher
    train(store, teacher)
    (store.folder(teacher.id) / "weights.safetensors").unlink()
    with store.claimed(teacher.id), pytest.raises(CorruptedError, match="another process retrains it"):
        Teachers(store, TASK, CPU)(teacher)
    assert (store.folder(teacher.id) / "result.json").exists()


def test_missing_weights_are_named(store):
    file = store.folder("0123") / "weights.safetensors"
    with pytest.raises(ResultsError) as caught:
        load_trained_weights(store, "0123")
    assert str(caught.value).startswith(f"{file}: cannot be read (")
    assert str(caught.value).endswith("; run `kdbench reindex --deep`, then run the matrix again")


def test_a_network_is_built_for_its_task():
    network = models.build_from_spec(NetworkSpec("mlp_7"), TASK)
    assert network.image_shape == (1, 8, 8)
    assert network.head.out_features == 10
