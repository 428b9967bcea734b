"""Inference times by architecture and environment."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from forged import with_checksum
from hypothesis import given
from hypothesis import strategies as st
from timings import HERE, add_timing, make_timing

from kdbench.results.table import time_matrix
from kdbench.results.timings import choose_timings, read_timing, read_timings, timed_architectures

OTHER = replace(HERE, processor="another")


def test_a_timing_is_read_as_it_was_written(tmp_path: Path) -> None:
    timing = add_timing(tmp_path, "cnn")
    assert read_timings(tmp_path) == [timing]
    assert read_timing(tmp_path / f"{timing.key}.json") == timing


@pytest.mark.parametrize("change", [lambda text: text[:-9], lambda text: text.replace("cnn", "mlp"), lambda _: "[1]"])
def test_a_corrupted_file_is_skipped(tmp_path: Path, change: object) -> None:
    timing = add_timing(tmp_path, "cnn")
    path = tmp_path / f"{timing.key}.json"
    for content in (change(path.read_text()).encode(), with_checksum(change(path.read_text()))):  # type: ignore[operator]
        path.write_bytes(content)
        assert read_timings(tmp_path) == []


def test_a_changed_digit_is_found(tmp_path: Path) -> None:
    timing = add_timing(tmp_path, "cnn")
    path = tmp_path / f"{timing.key}.json"
    changed = path.read_text().replace('"inference_ms": 0.5', '"inference_ms": 0.6')
    path.write_text(changed)
    assert read_timings(tmp_path) == []
    path.write_bytes(with_checksum(changed))
    assert read_timings(tmp_path) != []


CHANGES = {"processor": "other", "device": "NVIDIA H200", "torch_version": "2.7.1", "threads": 2, "precision": "bf16"}


@pytest.mark.parametrize("key", CHANGES)
def test_an_architecture_is_untimed_in_another_environment(tmp_path: Path, key: str) -> None:
    add_timing(tmp_path, "cnn", replace(HERE, **{key: CHANGES[key]}))  # type: ignore[arg-type]
    assert timed_architectures(tmp_path, [HERE]) == frozenset()
    add_timing(tmp_path, "cnn")
    assert len(read_timings(tmp_path)) == 2
    assert timed_architectures(tmp_path, [HERE]) == {"cnn"}


def test_an_environment_describes_itself() -> None:
    cpu = replace(HERE, processor="AMD EPYC", torch_version="2.15.0")
    assert str(cpu) == "AMD EPYC, 1 CPU thread, fp32, torch 2.15.0"
    gpu = replace(cpu, device="NVIDIA H200", threads=2)
    assert str(gpu) == "NVIDIA H200 with AMD EPYC, 2 CPU threads, fp32, torch 2.15.0"


def test_the_environment_with_all_architectures_is_chosen() -> None:
    timings = [make_timing("a"), make_timing("a", OTHER), make_timing("b", OTHER, measured="2025"), make_timing("c")]
    chosen = choose_timings(timings, ["a", "b"])
    assert {key: timing.environment for key, timing in chosen.items()} == {"a": OTHER, "b": OTHER}


def test_of_two_complete_environments_the_latest_is_chosen() -> None:
    early, late = (make_timing("a", one, measured=day) for one, day in ((HERE, "2026-01-02"), (OTHER, "2026-03-01")))
    assert choose_timings([late, early], ["a"]) == choose_timings([early, late], ["a"]) == {"a": late}


environments = st.sampled_from([HERE, OTHER, replace(HERE, torch_version="2.7.1")])


@given(st.sets(st.tuples(st.sampled_from("abcd"), environments)), st.sets(st.sampled_from("abcde"), min_size=1))
def test_environments_are_mixed_only_if_none_has_all(pairs: set[tuple[str, object]], wanted: set[str]) -> None:
    timings = [make_timing(name, environment) for name, environment in pairs]  # type: ignore[arg-type]
    chosen = choose_timings(timings, wanted)
    timed = {name for name, _ in pairs} & wanted
    assert chosen.keys() == timed
    by_environment = [{name for name, one in pairs if one == other} for _, other in pairs]
    if any(timed <= names for names in by_environment):
        assert len({timing.environment for timing in chosen.values()}) <= 1


def test_the_environment_is_chosen_for_each_matrix() -> None:
    """The networks of another matrix, timed elsewhere, do not matter."""
    frame = pd.DataFrame({"run_id": list("wxyz"), "architecture": list("abcd"), "inference_ms": 9.0})
    timings = [*(make_timing(name, OTHER, 2.0) for name in "acd"), make_timing("a"), make_timing("b")]
    rows = time_matrix(frame, ["w", "x"], timings)
    assert list(rows["inference_ms"]) == [0.5, 0.5]
    assert set(rows["timing_processor"]) == {HERE.processor}
    assert list(time_matrix(frame, ["w", "y"], timings)["inference_ms"]) == [2.0, 2.0]
