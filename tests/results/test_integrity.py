"""Whether corrupted files of a finished run are found."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from forged import with_checksum
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from kdbench.errors import ResultsError
from kdbench.matrix import RunSpec
from kdbench.results import Store
from kdbench.results.files import read_checked_json, write_checked_json
from kdbench.results.integrity import checksums, file_corruption, result_corruption, run_corruption

WEIGHTS, HISTORY, PREDICTIONS = FILES = "weights.safetensors", "history.parquet", "predictions.safetensors"

SCORES = {"val_accuracy": 0.5, "test_accuracy": 0.5}


@pytest.fixture
def done(store: Store, teacher: RunSpec, finished: Callable[[Store, RunSpec], None]) -> Path:
    """The folder of a run that is done."""
    finished(store, teacher)
    return store.folder(teacher.id)


def test_checksums_have_size_and_sha256(done: Path) -> None:
    found = checksums(done)
    assert set(found) == set(FILES)
    assert {name: entry["bytes"] for name, entry in found.items()} == {n: (done / n).stat().st_size for n in found}
    assert all(len(str(entry["sha256"])) == 64 for entry in found.values())


def test_an_intact_run_is_not_corrupted(done: Path, teacher: RunSpec) -> None:
    assert run_corruption(done, teacher.id) is None
    assert run_corruption(done, teacher.id, deep=True) is None


@pytest.mark.parametrize("name", FILES)
def test_a_missing_or_truncated_file_is_found_by_its_size(done: Path, teacher: RunSpec, name: str) -> None:
    content = (done / name).read_bytes()
    (done / name).write_bytes(content[:-1])
    assert run_corruption(done, teacher.id) == f"{name} has {len(content) - 1} bytes, expected {len(content)}"
    (done / name).unlink()
    assert run_corruption(done, teacher.id) == f"{name} is missing"
    (done / name).mkdir()
    assert run_corruption(done, teacher.id) is not None


@pytest.mark.parametrize("name", FILES)
def test_a_flipped_bit_is_found_by_its_checksum(done: Path, teacher: RunSpec, name: str) -> None:
    content = bytearray((done / name).read_bytes())
    content[len(content) // 2] ^= 1
    (done / name).write_bytes(content)
    assert run_corruption(done, teacher.id) is None
    assert run_corruption(done, teacher.id, deep=True) == f"{name} does not match its checksum"


def test_a_missing_or_foreign_spec_is_found(done: Path, teacher: RunSpec, student: Callable[..., RunSpec]) -> None:
    other = student()
    (done / "spec.json").write_bytes(with_checksum(json.dumps(other.to_json())))
    assert run_corruption(done, teacher.id, deep=True) == f"spec.json belongs to the run {other.id}"
    (done / "spec.json").write_bytes(with_checksum("{}"))
    assert "spec.json: corrupted (KeyError: 'dataset')" in (run_corruption(done, teacher.id) or "")
    (done / "spec.json").unlink()
    assert run_corruption(done, teacher.id) == "spec.json is missing"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ('{"run_id"', "result.json cannot be read: "),
        ("[]", "result.json cannot be read: "),
        ('{"run_id": "another", "status": "done"}', "result.json belongs to the run 'another'"),
        ('{"run_id": "ID", "status": "dne"}', "result.json has the status 'dne'; it must be 'done' or 'failed'"),
        ('{"run_id": "ID", "status": "done", "row": []}', "'row' in result.json is not a dict"),
        ('{"run_id": "ID", "status": "done"}', "result.json has no checksum of weights.safetensors"),
        (
            '{"run_id": "ID", "status": "done", "files": {"weights.safetensors": 3}}',
            "result.json has no checksum of weights.safetensors",
        ),
    ],
)
def test_a_corrupted_result(done: Path, teacher: RunSpec, content: str, why: str) -> None:
    content = content.replace("ID", teacher.id)
    (done / "result.json").write_bytes(with_checksum(content) if content.endswith("}") else content.encode())
    found = run_corruption(done, teacher.id) or ""
    assert found.startswith(why)
    assert "reindex" not in found, "kdbench itself quarantines the run"


@given(position=st.integers(0, 10_000), flip=st.integers(1, 255))
def test_every_changed_byte_of_a_result_or_spec_is_found_without_deep(
    tmp_path_factory: pytest.TempPathFactory, position: int, flip: int
) -> None:
    folder = tmp_path_factory.mktemp("run")
    for name in ("result.json", "spec.json"):
        path = folder / name
        write_checked_json(path, {"run_id": "0123", "row": {"test_accuracy": 0.912345, "test_nll": 0.25}})
        content = bytearray(path.read_bytes())
        content[position % len(content)] ^= flip
        path.write_bytes(content)
        with pytest.raises(ResultsError, match=f"{name}: corrupted"):
            read_checked_json(path)


def test_a_changed_digit_of_a_result_is_found(done: Path, teacher: RunSpec, store: Store) -> None:
    path = done / "result.json"
    path.write_text(path.read_text().replace('"test_accuracy": 0.5', '"test_accuracy": 0.6'))
    assert store.result(teacher.id) is None
    assert "result.json: corrupted (does not match its checksum)" in (store.corruption(teacher.id) or "")


@pytest.mark.parametrize(("old", "new"), [('"name": "digits"', '"name": "mnist"'), ('"kind": "digits"', '"kind": "x"')])
def test_a_changed_name_that_is_not_part_of_the_id_is_found(done: Path, teacher: RunSpec, old: str, new: str) -> None:
    path = done / "spec.json"
    path.write_text(path.read_text().replace(old, new))
    assert "spec.json: corrupted (does not match its checksum)" in (run_corruption(done, teacher.id) or "")


def test_an_unfinished_or_failed_run_is_not_corrupted(done: Path, teacher: RunSpec, store: Store) -> None:
    store.write_result(teacher.id, {"status": "failed", "error": "NaN"})
    (done / WEIGHTS).unlink()
    assert run_corruption(done, teacher.id, deep=True) is None
    (done / "result.json").unlink()
    assert run_corruption(done, teacher.id, deep=True) is None


def test_a_file_that_matches_its_checksum_but_cannot_be_read(done: Path, teacher: RunSpec, store: Store) -> None:
    (done / WEIGHTS).write_bytes(b"not weights")
    store.write_result(teacher.id, {"status": "done", "row": SCORES, "files": checksums(done)})
    assert run_corruption(done, teacher.id) is None
    assert (run_corruption(done, teacher.id, deep=True) or "").startswith(f"{WEIGHTS} cannot be read (")
    (done / HISTORY).write_bytes(b"PAR1")
    store.write_result(teacher.id, {"status": "done", "row": SCORES, "files": checksums(done)})
    assert (run_corruption(done, teacher.id, deep=True) or "").startswith(f"{HISTORY} cannot be read (")


def test_predictions_that_match_their_checksum_but_cannot_be_read(done: Path, teacher: RunSpec, store: Store) -> None:
    save_file({"student.predicted": np.arange(6, dtype=np.uint8)}, done / PREDICTIONS)
    store.write_result(teacher.id, {"status": "done", "row": SCORES, "files": checksums(done)})
    assert run_corruption(done, teacher.id) is None
    reason = f"{PREDICTIONS} cannot be read (the tensor 'size' is missing)"
    assert run_corruption(done, teacher.id, deep=True) == reason


@given(position=st.integers(0, 10_000), flip=st.integers(1, 255))
def test_every_changed_byte_is_found(tmp_path_factory: pytest.TempPathFactory, position: int, flip: int) -> None:
    folder = tmp_path_factory.mktemp("run")
    save_file({"student.w": np.arange(6, dtype=np.float32)}, folder / WEIGHTS)
    pq.write_table(pa.table({"epoch": [0]}), folder / HISTORY)
    save_file({"student.tied": np.arange(6, dtype=np.uint8)}, folder / PREDICTIONS)
    expected = checksums(folder)
    for name in FILES:
        content = bytearray((folder / name).read_bytes())
        content[position % len(content)] ^= flip
        (folder / name).write_bytes(content)
        assert file_corruption(folder / name, expected[name], deep=True) is not None


@given(st.dictionaries(st.sampled_from(["run_id", "status", "row", "files", "architecture"]), st.none() | st.text()))
def test_any_other_content_is_a_corrupted_result(result: dict[str, str | None]) -> None:
    assert result_corruption(result, "0123") is not None or result.get("status") in ("done", "failed")
