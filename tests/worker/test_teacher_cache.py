"""Teachers whose logits are repeated from disk: the numbers of a run are those that it has without."""

import shutil
import time

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load, load_file
from torch import nn

from kdbench.events import EpochEnded, WarningIssued
from kdbench.methods.feature.attention import Attention
from kdbench.methods.relation.relational_kd import RelationalDistance, RelationalKD
from kdbench.methods.response.vanilla import Vanilla
from kdbench.results import Store
from kdbench.training.network import Frozen, Output
from kdbench.worker import build, teacher_cache
from kdbench.worker.cohort import CohortWorker
from kdbench.worker.disk_cache import LRUCache
from kdbench.worker.options import Options
from kdbench.worker.teacher_cache import OVERHEAD, TeacherCache, fields_read

CPU = torch.device("cpu")
LOGITS = {
    "vanilla": {},
    "rkd_v2": {},
    "triplet": {},
    "triplet + vanilla": {"method": ["triplet", "vanilla"]},
}
METHODS = {**LOGITS, "fitnets": {}, "attention": {}, "rkd_da": {}, "rkd_d": {}, "scratch": {}}
EPOCHS, STEPS, BATCH, CLASSES, WIDTH = 4, 2, 50, 10, 96
WHOLE = EPOCHS * STEPS  # batches of a run
TIMES = {"train_seconds", "peak_memory_mb", "started", "finished", "cohort_size", "attempts"}


class CutError(Exception):
    """Somebody pulls the plug."""


@pytest.fixture(scope="module", params=["fp32", "bf16"])
def computed(request, tmp_path_factory, plan_of):
    """The specs by label and a store in which all of them were trained in one cohort, without replay."""
    recipe = {"epochs": EPOCHS, "augment": ["translate"], "precision": request.param}
    plan = plan_of(METHODS, recipe, pair=("cnn_6_6", "cnn_4_4"))
    specs = {"teacher" if cell.kind == "teacher" else cell.label: cell.runs[0] for cell in plan.cells}
    store = Store(tmp_path_factory.mktemp("computed"))
    CohortWorker([specs["teacher"]], store, CPU, lambda event: None).train()
    CohortWorker([spec for label, spec in specs.items() if label != "teacher"], store, CPU, lambda event: None).train()
    return specs, store


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Where the logits are kept."""
    monkeypatch.setattr(teacher_cache, "cache_folder", lambda: tmp_path / "cache")
    return tmp_path / "cache" / "teacher_outputs"


@pytest.fixture
def asked(monkeypatch):
    """The sizes of the batches that a teacher computed."""
    sizes, loaded = [], build.Teachers.__call__

    def counting(self, spec):
        teacher = loaded(self, spec)
        if not teacher.network._forward_hooks:
            teacher.network.register_forward_hook(lambda network, given, output: sizes.append(len(given[0])))
        return teacher

    monkeypatch.setattr(build.Teachers, "__call__", counting)
    return sizes


@pytest.fixture
def students(computed, tmp_path, place, asked):
    """`students(*labels, gigabytes, until, **options)`: train a cohort with replay.

    It gives how many batches the teacher computed. When epoch `until` has ended, but before it is saved, the plug is
    pulled.
    """
    specs, whole = computed
    store = Store(tmp_path / "results")
    teacher = specs["teacher"].id
    shutil.copytree(whole.folder(teacher), store.folder(teacher))

    def run(*labels, gigabytes=0.1, until=None, **options):
        asked.clear()

        def report(event):
            events.append(event)
            if isinstance(event, EpochEnded) and event.epoch == until:
                raise CutError

        cohort = CohortWorker(
            [specs[label] for label in labels], store, CPU, report, Options(0.0, gigabytes, **options)
        )
        if until:
            with pytest.raises(CutError):
                cohort.train()
        else:
            cohort.train()
        return asked.count(BATCH)

    run.store, run.events = store, (events := [])
    return run


@pytest.fixture
def assert_same(computed, students):
    """`assert_same(*labels)`: weights, metrics and history are those that were computed."""
    specs, whole = computed

    def check(*labels):
        for label in labels:
            folders = [store.folder(specs[label].id) for store in (whole, students.store)]
            first, second = (load_file(folder / "weights.safetensors") for folder in folders)
            assert first.keys() == second.keys()
            assert all(torch.equal(first[key], second[key]) for key in first), label
            rows = [store.result(specs[label].id)["row"] for store in (whole, students.store)]
            one, other = ({key: value for key, value in row.items() if key not in TIMES} for row in rows)
            assert one == other
            histories = [pq.read_table(folder / "history.parquet").drop(["seconds"]) for folder in folders]
            assert histories[0].equals(histories[1])

    return check


def files(place):
    return sorted(place.glob("*/*"), key=lambda path: int(path.name))


def test_repeated_logits_give_the_same_numbers(students, assert_same, asked):
    first, *others = LOGITS
    assert students(first) == WHOLE
    assert students(*others) == 0
    assert asked, "the agreement with the teacher is computed by the real one"
    assert_same(*LOGITS)


def test_a_cohort_keeps_what_it_computes(students, assert_same, place):
    assert students(*LOGITS, "scratch") == WHOLE
    assert [path.name for path in files(place)] == [str(epoch) for epoch in range(EPOCHS)]
    assert_same(*LOGITS, "scratch")


def test_what_is_kept_is_what_the_teacher_said(students, computed, place):
    students("vanilla")
    kept = [load(path.read_bytes()[32:])["logits"] for path in files(place)]
    assert {tuple(logits.shape) for logits in kept} == {(STEPS, BATCH, CLASSES)}
    precision = computed[0]["vanilla"].recipe.precision
    assert {logits.dtype for logits in kept} == {torch.bfloat16 if precision == "bf16" else torch.float32}
    assert not torch.equal(kept[0], kept[1])


@pytest.mark.parametrize("beside", ["fitnets", "rkd_da"])
def test_beside_a_method_that_reads_more_the_teacher_is_computed(students, assert_same, beside):
    students("vanilla")
    assert students("rkd_v2", beside) == WHOLE
    assert_same("vanilla", "rkd_v2", beside)


def test_a_method_that_reads_more_keeps_nothing(students, assert_same, place):
    assert students("rkd_v2", "fitnets") == WHOLE
    assert files(place) == []
    assert_same("rkd_v2", "fitnets")


def test_beside_a_method_that_does_not_ask_it_is_repeated(students, assert_same):
    students("vanilla")
    assert students("scratch", "triplet") == 0
    assert_same("vanilla", "scratch", "triplet")


def test_resumed_in_the_middle(students, assert_same, place):
    assert students("vanilla", "triplet", until=3) == 3 * STEPS
    assert students("vanilla", "triplet") == STEPS, "it goes on from the third epoch, whose logits were kept"
    assert len(files(place)) == EPOCHS
    students("rkd_v2", until=2)
    assert students("rkd_v2") == 0
    assert_same("vanilla", "triplet", "rkd_v2")


def test_evicted_in_the_middle(students, assert_same, place):
    students("vanilla")
    for path in files(place)[1:3]:
        path.unlink()
    assert students("triplet", "rkd_v2") == 2 * STEPS
    assert len(files(place)) == EPOCHS
    assert_same("vanilla", "triplet", "rkd_v2")


@pytest.mark.parametrize("corrupt", [lambda whole: whole[:-1], lambda whole: whole[:-1] + bytes([whole[-1] ^ 1])])
def test_a_corrupted_file_is_computed_and_written_again(students, assert_same, place, corrupt):
    students("vanilla")
    path = files(place)[2]
    whole = path.read_bytes()
    path.write_bytes(corrupt(whole))
    assert students("triplet") == STEPS
    assert torch.equal(*(load(content[32:])["logits"] for content in (whole, path.read_bytes())))
    assert_same("vanilla", "triplet")


def test_where_nothing_is_recorded_it_is_repeated_as_usual(students, assert_same):
    assert students("vanilla", cuda_graphs=True) == WHOLE
    assert students("rkd_v2", cuda_graphs=True) == 0
    assert_same("vanilla", "rkd_v2")


def test_what_a_compiled_teacher_says_is_not_kept(students, place):
    students("vanilla", compile=True)
    assert files(place) == []


def test_repeated_embeddings_give_the_same_numbers(students, assert_same):
    assert students("rkd_da", "vanilla") == WHOLE
    assert students("rkd_d", "triplet") == 0
    assert_same("rkd_da", "vanilla", "rkd_d", "triplet")


def test_what_is_kept_of_embeddings_is_what_the_teacher_said(students, computed, place):
    students("rkd_d")
    kept = [load(path.read_bytes()[32:]) for path in files(place)]
    dtype = torch.bfloat16 if computed[0]["rkd_d"].recipe.precision == "bf16" else torch.float32
    found = {name: {(*part[name].shape, part[name].dtype) for part in kept} for name in ("logits", "embedding")}
    assert found == {"logits": {(STEPS, BATCH, CLASSES, dtype)}, "embedding": {(STEPS, BATCH, WIDTH, dtype)}}
    assert not torch.equal(kept[0]["embedding"], kept[1]["embedding"])


def test_who_reads_logits_repeats_those_beside_embeddings(students, assert_same, place):
    students("rkd_da")
    for path in files(place)[:1]:
        path.unlink()
    assert students("vanilla", "rkd_v2") == STEPS
    assert len(files(place)) == EPOCHS
    assert students("triplet") == 0
    assert_same("rkd_da", "vanilla", "rkd_v2", "triplet")


def test_who_reads_embeddings_computes_where_only_logits_were_kept(students, assert_same, place):
    students("vanilla")
    assert students("rkd_da") == WHOLE
    assert len(files(place)) == 2 * EPOCHS
    assert students("rkd_d") == 0
    assert_same("vanilla", "rkd_da", "rkd_d")


def test_embeddings_count_in_what_must_fit(students, assert_same, place, computed):
    floats = STEPS * BATCH * (CLASSES + WIDTH)
    needed = EPOCHS * (floats * (2 if computed[0]["rkd_d"].recipe.precision == "bf16" else 4) + OVERHEAD)
    assert students("rkd_d", gigabytes=(needed - 10) / 1e9) == WHOLE
    assert files(place) == []
    assert students("rkd_da", gigabytes=(needed + 10) / 1e9) == WHOLE
    assert len(files(place)) == EPOCHS
    assert_same("rkd_d", "rkd_da")


def test_what_does_not_fit_as_a_whole_is_not_begun(students, assert_same, place, computed):
    precision = computed[0]["vanilla"].recipe.precision
    needed = EPOCHS * (STEPS * BATCH * CLASSES * (2 if precision == "bf16" else 4) + OVERHEAD)
    assert students("vanilla", gigabytes=(needed - 10) / 1e9) == WHOLE
    assert files(place) == []
    assert students("triplet", gigabytes=(needed + 10) / 1e9) == WHOLE
    assert len(files(place)) == EPOCHS
    assert_same("vanilla", "triplet")


def test_without_a_share_of_the_disk_nothing_is_kept(students, assert_same, place):
    assert students("vanilla", gigabytes=0.0) == WHOLE
    assert not place.exists()
    assert_same("vanilla")


def test_a_place_that_cannot_be_written_to_costs_a_warning(students, assert_same, place):
    place.parent.mkdir()
    place.write_text("a file in the way")
    assert students("vanilla") == WHOLE
    (warning,) = [event for event in students.events if isinstance(event, WarningIssued)]
    assert str(place) in warning.text
    assert "KDBENCH_CACHE" in warning.text
    assert_same("vanilla")


@pytest.mark.parametrize(
    ("method", "label", "says", "reads", "other"),
    [
        (RelationalKD, "rkd_da", "logits", "embedding", "vanilla"),
        (Attention, "attention", "embedding", "maps", "rkd_d"),
    ],
)
def test_a_method_that_reads_more_than_it_says_fails(
    students, assert_same, monkeypatch, computed, method, label, says, reads, other
):
    monkeypatch.setattr(method, "reads", says)
    students(label, other)
    failed = students.store.result(computed[0][label].id)
    assert failed["status"] == "failed"
    assert f'reads = "{reads}"' in failed["error"]
    assert_same(other)


def test_the_most_that_is_read_of_a_teacher():
    teacher, other, student = (Frozen(Slow()) for _ in range(3))

    def read(*methods, of=teacher):
        return fields_read(of, [method(student, teacher) for method in methods])

    assert read() == read(Vanilla, Vanilla) == "logits"
    assert read(Vanilla, RelationalDistance) == "embedding"
    assert read(Vanilla, Attention, RelationalDistance) == "maps"
    assert read(Attention, of=other) == "logits", "it asks another teacher"


@pytest.mark.parametrize("reads", [None, "Logits"])
def test_who_says_nothing_that_is_known_reads_all(reads):
    method = Vanilla(Slow(), teacher := Frozen(Slow()))
    method.reads = reads
    assert fields_read(teacher, [method]) == "maps"


class Slow(nn.Module):
    """A network that takes its time."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, images):
        time.sleep(0.01)
        return Output(self.layer(images), (), (), images)


def test_what_is_spared_is_the_time_that_it_took_to_compute(tmp_path):
    teacher, images = Frozen(Slow()), torch.randn(3, 5, 4)

    def through(epochs):
        asked = TeacherCache(teacher, LRUCache(tmp_path, 10**6), "name", 2, len(images), pytest.fail)
        start = time.perf_counter()
        for epoch in epochs:
            for position, batch in enumerate(images):
                teacher.clear_cache()
                asked.forward(batch, epoch, position)
        return asked.saved_seconds, time.perf_counter() - start

    spared, took = through([0])
    assert (spared, took >= 0.03) == (0.0, True)
    assert 0.03 <= through([0])[0] <= took
    assert 0.03 <= through([0, 1])[0] <= took
    assert through([0, 1])[0] >= 0.06


def test_logits_that_are_not_laid_out_plainly_are_not_kept(tmp_path):
    class Turned(nn.Linear):
        def forward(self, images):
            return Output(super().forward(images).t().contiguous().t(), (), (), images)

    teacher, shelf = Frozen(Turned(4, 3)), LRUCache(tmp_path, 10**6)
    TeacherCache(teacher, shelf, "name", 1, 1, pytest.fail).forward(images := torch.randn(5, 4), 0, 0)
    assert torch.equal(teacher(images).logits, teacher.network(images).logits)
    assert shelf.read("name/0") is None
