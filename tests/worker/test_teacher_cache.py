"""The teacher cache: the numbers of a run are the same with and without it."""

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
ALL = EPOCHS * STEPS  # batches of a run
TIMES = {"train_seconds", "peak_memory_mb", "started", "finished", "cohort_size", "attempts"}


class CrashError(Exception):
    """Stands for a crash of the worker."""


@pytest.fixture(scope="module", params=["fp32", pytest.param("bf16", marks=pytest.mark.slow)])
def uncached(request, tmp_path_factory, plan_of):
    """The specs by label, and a store in which all were trained in one cohort without the cache."""
    recipe = {"epochs": EPOCHS, "augment": ["translate"], "precision": request.param}
    plan = plan_of(METHODS, recipe, pair=("cnn_6_6", "cnn_4_4"))
    specs = {"teacher" if cell.kind == "teacher" else cell.label: cell.runs[0] for cell in plan.cells}
    store = Store(tmp_path_factory.mktemp("uncached"))
    CohortWorker([specs["teacher"]], store, CPU, lambda event: None).train()
    CohortWorker([spec for label, spec in specs.items() if label != "teacher"], store, CPU, lambda event: None).train()
    return specs, store


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The folder of the cache."""
    monkeypatch.setattr(teacher_cache, "cache_folder", lambda: tmp_path / "cache")
    return tmp_path / "cache" / "teacher_outputs"


@pytest.fixture
def batch_sizes(monkeypatch):
    """The sizes of the batches that a teacher computes."""
    sizes, load = [], build.Teachers.__call__

    def load_and_count(self, spec):
        teacher = load(self, spec)
        if not teacher.network._forward_hooks:
            teacher.network.register_forward_hook(lambda network, arguments, output: sizes.append(len(arguments[0])))
        return teacher

    monkeypatch.setattr(build.Teachers, "__call__", load_and_count)
    return sizes


@pytest.fixture
def students(uncached, tmp_path, folder, batch_sizes):
    """`students(*labels, gigabytes, until, **options)`: train a cohort with the cache.

    Returns how many batches the teacher computed. Crashes when epoch `until` has ended, before its checkpoint.
    """
    specs, reference = uncached
    store = Store(tmp_path / "results")
    teacher = specs["teacher"].id
    shutil.copytree(reference.folder(teacher), store.folder(teacher))

    def run(*labels, gigabytes=0.1, until=None, **options):
        batch_sizes.clear()

        def on_event(event):
            events.append(event)
            if isinstance(event, EpochEnded) and event.epoch == until:
                raise CrashError

        cohort = CohortWorker(
            [specs[label] for label in labels], store, CPU, on_event, Options(0.0, gigabytes, **options)
        )
        if until:
            with pytest.raises(CrashError):
                cohort.train()
        else:
            cohort.train()
        return batch_sizes.count(BATCH)

    run.store, run.events = store, (events := [])
    return run


@pytest.fixture
def assert_same(uncached, students):
    """`assert_same(*labels)`: weights, metrics and history equal those without the cache."""
    specs, reference = uncached

    def check(*labels):
        for label in labels:
            folders = [store.folder(specs[label].id) for store in (reference, students.store)]
            first, second = (load_file(folder / "weights.safetensors") for folder in folders)
            assert first.keys() == second.keys()
            assert all(torch.equal(first[key], second[key]) for key in first), label
            rows = [store.result(specs[label].id)["row"] for store in (reference, students.store)]
            one, other = ({key: value for key, value in row.items() if key not in TIMES} for row in rows)
            assert one == other
            histories = [pq.read_table(folder / "history.parquet").drop(["seconds"]) for folder in folders]
            assert histories[0].equals(histories[1])

    return check


def files(folder):
    return sorted(folder.glob("*/*"), key=lambda path: int(path.name))


def test_cached_logits_give_the_same_numbers(students, assert_same, batch_sizes):
    first, *others = LOGITS
    assert students(first) == ALL
    assert students(*others) == 0
    assert batch_sizes, "the teacher agreement is computed, not cached"
    assert_same(*LOGITS)


def test_a_cohort_writes_one_file_per_epoch(students, assert_same, folder):
    assert students(*LOGITS, "scratch") == ALL
    assert [path.name for path in files(folder)] == [str(epoch) for epoch in range(EPOCHS)]
    assert_same(*LOGITS, "scratch")


def test_files_contain_the_logits_in_their_dtype(students, uncached, folder):
    students("vanilla")
    contents = [load(path.read_bytes()[32:])["logits"] for path in files(folder)]
    assert {tuple(logits.shape) for logits in contents} == {(STEPS, BATCH, CLASSES)}
    precision = uncached[0]["vanilla"].recipe.precision
    assert {logits.dtype for logits in contents} == {torch.bfloat16 if precision == "bf16" else torch.float32}
    assert not torch.equal(contents[0], contents[1])


@pytest.mark.parametrize("other", ["fitnets", "rkd_da"])
def test_with_a_method_that_reads_more_the_teacher_computes(students, assert_same, other):
    students("vanilla")
    assert students("rkd_v2", other) == ALL
    assert_same("vanilla", "rkd_v2", other)


def test_with_a_method_that_reads_maps_nothing_is_cached(students, assert_same, folder):
    assert students("rkd_v2", "fitnets") == ALL
    assert files(folder) == []
    assert_same("rkd_v2", "fitnets")


def test_a_method_without_a_teacher_does_not_disable_the_cache(students, assert_same):
    students("vanilla")
    assert students("scratch", "triplet") == 0
    assert_same("vanilla", "scratch", "triplet")


def test_a_resumed_cohort_uses_the_cache(students, assert_same, folder):
    assert students("vanilla", "triplet", until=3) == 3 * STEPS
    assert students("vanilla", "triplet") == STEPS, "it resumes at epoch 3, whose logits are cached"
    assert len(files(folder)) == EPOCHS
    students("rkd_v2", until=2)
    assert students("rkd_v2") == 0
    assert_same("vanilla", "triplet", "rkd_v2")


def test_evicted_epochs_are_computed_again(students, assert_same, folder):
    students("vanilla")
    for path in files(folder)[1:3]:
        path.unlink()
    assert students("triplet", "rkd_v2") == 2 * STEPS
    assert len(files(folder)) == EPOCHS
    assert_same("vanilla", "triplet", "rkd_v2")


@pytest.mark.parametrize("corrupt", [lambda data: data[:-1], lambda data: data[:-1] + bytes([data[-1] ^ 1])])
def test_a_corrupted_file_is_computed_and_written_again(students, assert_same, folder, corrupt):
    students("vanilla")
    path = files(folder)[2]
    data = path.read_bytes()
    path.write_bytes(corrupt(data))
    assert students("triplet") == STEPS
    assert torch.equal(*(load(content[32:])["logits"] for content in (data, path.read_bytes())))
    assert_same("vanilla", "triplet")


def test_cuda_graphs_on_a_cpu_do_not_disable_the_cache(students, assert_same):
    assert students("vanilla", cuda_graphs=True) == ALL
    assert students("rkd_v2", cuda_graphs=True) == 0
    assert_same("vanilla", "rkd_v2")


@pytest.mark.slow
def test_compile_disables_the_cache(students, folder):
    students("vanilla", compile=True)
    assert files(folder) == []


def test_cached_embeddings_give_the_same_numbers(students, assert_same):
    assert students("rkd_da", "vanilla") == ALL
    assert students("rkd_d", "triplet") == 0
    assert_same("rkd_da", "vanilla", "rkd_d", "triplet")


def test_files_contain_logits_and_embeddings_in_their_dtype(students, uncached, folder):
    students("rkd_d")
    contents = [load(path.read_bytes()[32:]) for path in files(folder)]
    dtype = torch.bfloat16 if uncached[0]["rkd_d"].recipe.precision == "bf16" else torch.float32
    shapes = {name: {(*part[name].shape, part[name].dtype) for part in contents} for name in ("logits", "embedding")}
    assert shapes == {"logits": {(STEPS, BATCH, CLASSES, dtype)}, "embedding": {(STEPS, BATCH, WIDTH, dtype)}}
    assert not torch.equal(contents[0]["embedding"], contents[1]["embedding"])


def test_a_reader_of_logits_uses_files_with_embeddings(students, assert_same, folder):
    students("rkd_da")
    for path in files(folder)[:1]:
        path.unlink()
    assert students("vanilla", "rkd_v2") == STEPS
    assert len(files(folder)) == EPOCHS
    assert students("triplet") == 0
    assert_same("rkd_da", "vanilla", "rkd_v2", "triplet")


def test_a_reader_of_embeddings_does_not_use_files_with_logits_only(students, assert_same, folder):
    students("vanilla")
    assert students("rkd_da") == ALL
    assert len(files(folder)) == 2 * EPOCHS
    assert students("rkd_d") == 0
    assert_same("vanilla", "rkd_da", "rkd_d")


def test_embeddings_count_towards_the_limit(students, assert_same, folder, uncached):
    floats = STEPS * BATCH * (CLASSES + WIDTH)
    needed = EPOCHS * (floats * (2 if uncached[0]["rkd_d"].recipe.precision == "bf16" else 4) + OVERHEAD)
    assert students("rkd_d", gigabytes=(needed - 10) / 1e9) == ALL
    assert files(folder) == []
    assert students("rkd_da", gigabytes=(needed + 10) / 1e9) == ALL
    assert len(files(folder)) == EPOCHS
    assert_same("rkd_d", "rkd_da")


def test_nothing_is_written_unless_all_epochs_fit(students, assert_same, folder, uncached):
    precision = uncached[0]["vanilla"].recipe.precision
    needed = EPOCHS * (STEPS * BATCH * CLASSES * (2 if precision == "bf16" else 4) + OVERHEAD)
    assert students("vanilla", gigabytes=(needed - 10) / 1e9) == ALL
    assert files(folder) == []
    assert students("triplet", gigabytes=(needed + 10) / 1e9) == ALL
    assert len(files(folder)) == EPOCHS
    assert_same("vanilla", "triplet")


def test_a_limit_of_0_disables_the_cache(students, assert_same, folder):
    assert students("vanilla", gigabytes=0.0) == ALL
    assert not folder.exists()
    assert_same("vanilla")


def test_an_unwritable_folder_is_a_warning(students, assert_same, folder):
    folder.parent.mkdir()
    folder.write_text("a file, not a folder")
    assert students("vanilla") == ALL
    (warning,) = [event for event in students.events if isinstance(event, WarningIssued)]
    assert str(folder) in warning.text
    assert "KDBENCH_CACHE" in warning.text
    assert_same("vanilla")


@pytest.mark.parametrize(
    ("method", "label", "declares", "reads", "other"),
    [
        (RelationalKD, "rkd_da", "logits", "embedding", "vanilla"),
        (Attention, "attention", "embedding", "maps", "rkd_d"),
    ],
)
def test_a_method_that_reads_more_than_it_declares_fails(
    students, assert_same, monkeypatch, uncached, method, label, declares, reads, other
):
    monkeypatch.setattr(method, "reads", declares)
    students(label, other)
    failed = students.store.result(uncached[0][label].id)
    assert failed["status"] == "failed"
    assert f'reads = "{reads}"' in failed["error"]
    assert_same(other)


def test_fields_read_are_the_most_of_all_methods():
    teacher, other, student = (Frozen(Slow()) for _ in range(3))

    def read(*methods, of=teacher):
        return fields_read(of, [method(student, teacher) for method in methods])

    assert read() == read(Vanilla, Vanilla) == "logits"
    assert read(Vanilla, RelationalDistance) == "embedding"
    assert read(Vanilla, Attention, RelationalDistance) == "maps"
    assert read(Attention, of=other) == "logits", "the method has another teacher"


@pytest.mark.parametrize("reads", [None, "Logits"])
def test_a_method_without_a_valid_declaration_reads_maps(reads):
    method = Vanilla(Slow(), teacher := Frozen(Slow()))
    method.reads = reads
    assert fields_read(teacher, [method]) == "maps"


class Slow(nn.Module):
    """A network whose forward pass takes 10 ms."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, images):
        time.sleep(0.01)
        return Output(self.layer(images), (), (), images)


def test_an_output_from_disk_costs_the_time_of_its_computation(tmp_path):
    teacher, images = Frozen(Slow()), torch.randn(3, 5, 4)

    def run_epochs(epochs):
        cached = TeacherCache(teacher, LRUCache(tmp_path, 10**6), "name", 2, len(images), pytest.fail)
        start, seconds = time.perf_counter(), 0.0
        for epoch in epochs:
            for position, batch in enumerate(images):
                teacher.clear_cache()
                seconds += cached.forward(batch, epoch, position).seconds
        return seconds, time.perf_counter() - start

    computed, took = run_epochs([0])
    assert 0.03 <= computed <= took
    assert run_epochs([0])[0] == pytest.approx(computed)
    assert run_epochs([0, 1])[0] >= computed + 0.03
    both = run_epochs([0, 1])[0]
    assert both >= computed + 0.03
    assert run_epochs([0, 1])[0] == pytest.approx(both)


def test_logits_that_are_not_contiguous_are_not_cached(tmp_path):
    class Transposed(nn.Linear):
        def forward(self, images):
            return Output(super().forward(images).t().contiguous().t(), (), (), images)

    teacher, files = Frozen(Transposed(4, 3)), LRUCache(tmp_path, 10**6)
    TeacherCache(teacher, files, "name", 1, 1, pytest.fail).forward(images := torch.randn(5, 4), 0, 0)
    assert torch.equal(teacher(images).logits, teacher.network(images).logits)
    assert files.read("name/0") is None
