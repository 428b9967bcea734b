"""`retry`, `clean`, `merge`, `reindex`, and what `run`, `report` and `doctor` do about damage."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from kdbench.results import Store, checkpoints

SCORES = ["run_id", "test_accuracy", "test_nll", "val_accuracy", "status"]


def run_of(tiny: Any, label: str) -> str:
    """The first run of a label."""
    index = Store(tiny.results, create=False).index("tiny")
    assert index is not None
    return next(next(iter(cell.runs.values())) for cell in index.cells if cell.label == label)


def scores(results: Path) -> list[tuple[Any, ...]]:
    frame = pd.read_parquet(results / "results.parquet")[SCORES]
    return sorted(map(tuple, frame.itertuples(index=False)))


def flip(path: Path) -> None:
    """Change one bit, and no size."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_a_real_run_is_undamaged(tiny: Any) -> None:
    store = Store(tiny.results, create=False)
    assert len(store.run_ids()) == 9
    assert [store.corruption(run, deep=True) for run in store.run_ids()] == [None] * 9


def test_failures_are_forgotten_and_logs_stay(copied: Any, say: Callable[..., Any]) -> None:
    store, run, done = Store(copied.results), run_of(copied, "vanilla"), run_of(copied, "scratch")
    store.write_result(run, {"status": "failed", "error": "loss is NaN\nin epoch 3"})
    before = (store.folder(run) / "log.txt").read_text()
    said = say("retry", "--failed")
    assert said.status == 0
    assert said.out.splitlines() == [
        f"forgotten: the failure of {run}",
        "1 runs wait again; `kdbench run MATRIX` trains them",
    ]
    assert (store.state(run), store.state(done)) == ("pending", "done")
    after = (store.folder(run) / "log.txt").read_text()
    assert after.startswith(before)
    assert after.endswith("this failure is forgotten, the run waits again: loss is NaN\n")
    assert say("retry", "--failed").out == "nothing failed\n"


def test_failures_of_one_matrix_are_forgotten(copied: Any, say: Callable[..., Any]) -> None:
    store, run, other = Store(copied.results), run_of(copied, "vanilla"), "0123456789abcdef"
    for failed in (run, other):
        store.write_result(failed, {"status": "failed", "error": "NaN"})
    say("retry", "--failed", "tiny")
    assert (store.state(run), store.state(other)) == ("pending", "failed")
    said = say("retry", "--failed", "tinny")
    assert (said.status, said.error) == (1, "no matrix 'tinny' in 'results'; did you mean 'tiny'?")
    (copied.results / "matrices" / "tiny.json").write_text("{")
    assert say("retry", "--failed", "tiny").error.startswith("results/matrices/tiny.json: corrupted (")


def test_retry_wants_to_know_what(copied: Any, say: Callable[..., Any]) -> None:
    said = say("retry")
    assert (said.status, said.error) == (1, "say what is to be tried again: `kdbench retry --failed [NAME]`")


def test_a_failure_that_another_process_holds_stays(copied: Any, say: Callable[..., Any]) -> None:
    store, run = Store(copied.results), run_of(copied, "vanilla")
    store.write_result(run, {"status": "failed", "error": "NaN"})
    with store.claimed(run):
        assert say("retry", "--failed").out == "nothing failed\n"
    assert store.state(run) == "failed"


def test_clean_says_what_and_how_much(copied: Any, say: Callable[..., Any]) -> None:
    store, run = Store(copied.results), run_of(copied, "vanilla")
    say("clean")  # the log of the worker that made these results
    assert say("clean").out == "nothing to clean\n"
    checkpoints.write(store.folder(run), 1, bytes(2_000_000), {})
    half = store.folder(run) / ".result.json.1.tmp"
    half.write_bytes(b"{")
    dry = say("clean", "--dry-run").out.splitlines()
    assert f"{half.relative_to(Path.cwd())} (partial file)" in dry
    assert "would remove: partial file: 1, 1 bytes" in dry
    assert half.exists()
    said = say("clean").out.splitlines()
    assert said == ["removed: partial file: 1, 1 bytes", "removed: checkpoint of a finished run: 1, 2.0 MB"]
    assert not half.exists()
    assert store.corruption(run, deep=True) is None


def test_merging_gives_the_tables_of_both(copied: Any, say: Callable[..., Any], tmp_path: Path) -> None:
    expected = scores(copied.results)
    into = tmp_path / "into"
    Store(into)
    said = say("merge", into, copied.results)
    assert said.status == 0
    assert f"copied from {copied.results} into {into}: 9 runs, 1 matrices, " in said.out
    assert scores(into) == expected
    assert say("run", "tiny.toml", "--results", into).out.startswith("nothing to do: all 9 runs of tiny have ended")


def test_merging_needs_two_folders(copied: Any, say: Callable[..., Any]) -> None:
    assert say("merge", "nowhere", "results").error.startswith("nowhere: results folder not found")
    assert "cannot be merged into itself" in say("merge", "results", "results").error


def test_merging_refuses_a_newer_format(copied: Any, say: Callable[..., Any], tmp_path: Path) -> None:
    newer = tmp_path / "newer"
    newer.mkdir()
    (newer / "kdbench.json").write_text('{"format": 99}')
    assert "written by a newer kdbench (format 99" in say("merge", copied.results, newer).error


def test_reindex_rebuilds_the_tables(copied: Any, say: Callable[..., Any]) -> None:
    expected = scores(copied.results)
    (copied.results / "results.parquet").write_bytes(b"PAR1")
    (copied.results / "history.parquet").unlink()
    said = say("reindex").out.splitlines()
    assert said[0] == "results/results.parquet: corrupted; rebuilt"
    assert "looked at the sizes of files of 9 runs; 0 corrupted" in said
    assert scores(copied.results) == expected
    assert pd.read_parquet(copied.results / "history.parquet")["run_id"].nunique() == 9


def test_reindex_finds_what_has_another_content_only_when_deep(copied: Any, say: Callable[..., Any]) -> None:
    run = run_of(copied, "vanilla")
    flip(copied.results / "runs" / run / "weights.safetensors")
    assert "looked at the sizes of files of 9 runs; 0 corrupted" in say("reindex").out
    said = say("reindex", "--deep").out
    assert f"{run}: corrupted: weights.safetensors does not match its checksum" in said
    assert "looked at all files of 9 runs; 1 corrupted" in said
    assert Store(copied.results).state(run) == "pending"


def test_run_repeats_corrupted_runs_with_the_same_numbers(copied: Any, say: Callable[..., Any]) -> None:
    expected, runs = scores(copied.results), Store(copied.results).run_ids()
    names = ("weights.safetensors", "history.parquet", "result.json", "spec.json")
    corrupted = dict(zip(runs, names, strict=False))
    for run, name in corrupted.items():
        path = copied.results / "runs" / run / name
        if name == "spec.json":
            path.unlink()
        else:
            path.write_bytes(path.read_bytes()[:-5])
    said = say("run", "tiny.toml")
    assert said.status == 0
    for run, name in corrupted.items():
        assert f"warning: {run}: corrupted: {name} " in said.out
        assert (copied.results / "quarantine" / f"{run}-1" / "why.txt").read_text().startswith(name)
    assert scores(copied.results) == expected
    assert say("run", "tiny.toml").out.startswith("nothing to do: all 9 runs of tiny have ended")


def test_a_corrupted_matrix_file_is_named_and_written_anew(copied: Any, say: Callable[..., Any]) -> None:
    path = copied.results / "matrices" / "tiny.json"
    path.write_text("{")
    said = say("run", "tiny.toml")
    assert "warning: results/matrices/tiny.json: corrupted (" in said.out
    assert json.loads(path.read_text())["name"] == "tiny"


def test_looking_for_damage_is_cheap(copied: Any) -> None:
    store = Store(copied.results)
    index = store.index("tiny")
    assert index is not None
    begin = time.perf_counter()
    for _ in range(20):
        assert store.is_complete(index)
    assert time.perf_counter() - begin < 2, "180 runs took more than 2 s"


def test_a_report_of_a_folder_that_cannot_be_written(copied: Any, say: Callable[..., Any]) -> None:
    (copied.results / "export.lock").unlink(missing_ok=True)
    (copied.results / "export.lock").mkdir()  # as root may write anywhere, the lock is what cannot be made
    before = (copied.results / "results.parquet").read_bytes()
    said = say("report")
    assert said.status == 0
    assert "note: results.parquet and history.parquet stay as they are: results: cannot be written" in said.out
    assert "wrote reports/tiny/report.md" in said.out
    assert (copied.results / "results.parquet").read_bytes() == before


def test_a_report_names_a_corrupted_matrix_file(copied: Any, say: Callable[..., Any]) -> None:
    (copied.results / "matrices" / "other.json").write_text("[]")
    said = say("report")
    assert said.status == 0
    assert "note: results/matrices/other.json: corrupted (" in said.out
    assert "wrote reports/tiny/report.md" in said.out


def test_doctor_names_damage_and_leftovers(copied: Any, say: Callable[..., Any]) -> None:
    store, run = Store(copied.results), run_of(copied, "vanilla")
    say("clean")
    checkpoints.write(store.folder(run), 1, b"state", {})
    assert "1 files, " in say("doctor").out
    (store.folder(run) / "history.parquet").unlink()
    said = say("doctor")
    assert said.status == 1
    assert "history.parquet is missing" in said.out


def test_a_corrupted_description_is_named_by_every_command(copied: Any, say: Callable[..., Any]) -> None:
    (copied.results / "kdbench.json").write_text("{")
    for command in (["status"], ["report"], ["reindex"], ["clean"], ["run", "tiny.toml"]):
        said = say(*command)
        assert said.status == 1
        assert said.error.startswith("results/kdbench.json: corrupted (")
        assert said.error.endswith("""; restore it with: echo '{"format": 1, "threads": 1}' > results/kdbench.json""")


def test_a_teacher_of_other_content_is_trained_again_and_what_needs_it_waits(
    copied: Any, say: Callable[..., Any]
) -> None:
    """A size tells nothing; the checksum is looked at when a student's worker loads the teacher."""
    store, expected = Store(copied.results), scores(copied.results)
    teacher, student = run_of(copied, "teacher"), run_of(copied, "vanilla")
    flip(store.folder(teacher) / "weights.safetensors")
    store.clear_result(student)
    said = say("run", "tiny.toml")
    assert said.status == 0
    assert f"the run {teacher} is corrupted: weights.safetensors does not match its checksum" in said.out
    assert (store.root / "quarantine" / f"{teacher}-1" / "weights.safetensors").exists()
    assert store.corruption(teacher, deep=True) is None
    assert scores(copied.results) == expected
