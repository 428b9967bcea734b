"""Whether damage to a finished run is seen."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from kdbench.matrix import RunSpec
from kdbench.results import Store
from kdbench.results.integrity import checksums, corruption, file_corruption, malformed

WEIGHTS, HISTORY = "weights.safetensors", "history.parquet"


@pytest.fixture
def done(store: Store, teacher: RunSpec, finished: Callable[[Store, RunSpec], None]) -> Path:
    """The folder of a run that is done."""
    finished(store, teacher)
    return store.folder(teacher.id)


def test_the_evidence_has_size_and_checksum(done: Path) -> None:
    told = checksums(done)
    assert set(told) == {WEIGHTS, HISTORY}
    assert {name: entry["bytes"] for name, entry in told.items()} == {n: (done / n).stat().st_size for n in told}
    assert all(len(str(entry["sha256"])) == 64 for entry in told.values())


def test_a_whole_run_is_undamaged(done: Path, teacher: RunSpec) -> None:
    assert corruption(done, teacher.id) is None
    assert corruption(done, teacher.id, deep=True) is None


@pytest.mark.parametrize("name", [WEIGHTS, HISTORY])
def test_a_file_that_is_gone_or_cut_is_seen_by_its_size(done: Path, teacher: RunSpec, name: str) -> None:
    whole = (done / name).read_bytes()
    (done / name).write_bytes(whole[:-1])
    assert corruption(done, teacher.id) == f"{name} has {len(whole) - 1} bytes and was written with {len(whole)}"
    (done / name).unlink()
    assert corruption(done, teacher.id) == f"{name} is missing"
    (done / name).mkdir()
    assert corruption(done, teacher.id) is not None


@pytest.mark.parametrize("name", [WEIGHTS, HISTORY])
def test_a_flipped_bit_is_seen_by_its_checksum(done: Path, teacher: RunSpec, name: str) -> None:
    content = bytearray((done / name).read_bytes())
    content[len(content) // 2] ^= 1
    (done / name).write_bytes(content)
    assert corruption(done, teacher.id) is None
    assert corruption(done, teacher.id, deep=True) == f"{name} is not what was written: its checksum differs"


def test_a_spec_that_is_gone_or_another_runs_is_seen(
    done: Path, teacher: RunSpec, student: Callable[..., RunSpec]
) -> None:
    other = student()
    (done / "spec.json").write_text(json.dumps(other.to_json()))
    assert corruption(done, teacher.id, deep=True) == f"spec.json is of the run {other.id}"
    (done / "spec.json").write_text("{}")
    assert (corruption(done, teacher.id, deep=True) or "").startswith("spec.json cannot be read (KeyError: ")
    (done / "spec.json").unlink()
    assert corruption(done, teacher.id) == "spec.json is missing"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ('{"run_id"', "result.json cannot be read: "),
        ("[]", "result.json cannot be read: "),
        ('{"run_id": "another", "status": "done"}', "result.json is of the run 'another'"),
        ('{"run_id": "ID", "status": "dne"}', "result.json has the status 'dne'; it must be 'done' or 'failed'"),
        ('{"run_id": "ID", "status": "done", "row": []}', "result.json has a 'row' that is no dict"),
        (
            '{"run_id": "ID", "status": "done", "files": {"history.parquet": 3}}',
            "result.json does not tell the size of history.parquet",
        ),
    ],
)
def test_a_result_that_cannot_be_understood(done: Path, teacher: RunSpec, content: str, why: str) -> None:
    (done / "result.json").write_text(content.replace("ID", teacher.id))
    found = corruption(done, teacher.id) or ""
    assert found.startswith(why)
    assert "move it away" not in found, "kdbench itself puts the run aside"


def test_what_is_not_finished_or_failed_is_not_corrupted(done: Path, teacher: RunSpec, store: Store) -> None:
    store.write_result(teacher.id, {"status": "failed", "error": "NaN"})
    (done / WEIGHTS).unlink()
    assert corruption(done, teacher.id, deep=True) is None
    (done / "result.json").unlink()
    assert corruption(done, teacher.id, deep=True) is None


def test_a_run_of_before_is_believed_while_its_files_can_be_read(done: Path, teacher: RunSpec, store: Store) -> None:
    store.write_result(teacher.id, {"status": "done", "row": {}})
    pq.write_table(pa.table({"epoch": [7]}), done / HISTORY)
    assert corruption(done, teacher.id, deep=True) is None
    (done / WEIGHTS).write_bytes(b"not weights")
    assert corruption(done, teacher.id) is None
    assert (corruption(done, teacher.id, deep=True) or "").startswith(f"{WEIGHTS} cannot be read (")
    (done / HISTORY).write_bytes(b"PAR1")
    assert (corruption(done, teacher.id, deep=True) or "").startswith(f"{HISTORY} cannot be read (")


@given(place=st.integers(0, 10_000), flip=st.integers(1, 255))
def test_no_changed_byte_goes_unseen(tmp_path_factory: pytest.TempPathFactory, place: int, flip: int) -> None:
    folder = tmp_path_factory.mktemp("run")
    save_file({"student.w": np.arange(6, dtype=np.float32)}, folder / WEIGHTS)
    pq.write_table(pa.table({"epoch": [0]}), folder / HISTORY)
    told = checksums(folder)
    for name in (WEIGHTS, HISTORY):
        content = bytearray((folder / name).read_bytes())
        content[place % len(content)] ^= flip
        (folder / name).write_bytes(content)
        assert file_corruption(folder / name, told[name], deep=True) is not None


@given(st.dictionaries(st.sampled_from(["run_id", "status", "row", "files", "architecture"]), st.none() | st.text()))
def test_what_no_run_wrote_is_malformed(result: dict[str, str | None]) -> None:
    assert malformed(result, "0123") is not None or result.get("status") in ("done", "failed")
