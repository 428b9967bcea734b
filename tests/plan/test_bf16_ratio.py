"""The speed of bf16 is measured once per processor and version of torch."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from kdbench.matrix.recipe import Recipe
from kdbench.plan import LocalRegistry, bf16_ratio
from kdbench.plan.bf16_ratio import cached_bf16_ratio
from kdbench.training import precision


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("KDBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(bf16_ratio, "cpu_model", lambda: "CPU A")
    cached_bf16_ratio.cache_clear()
    yield tmp_path / "cache" / "bf16.json"
    cached_bf16_ratio.cache_clear()


def measured(monkeypatch: pytest.MonkeyPatch, value: float) -> float:
    """Return the ratio in a new process that would measure `value`."""
    monkeypatch.setattr(bf16_ratio, "measure_bf16_ratio", lambda: value)
    cached_bf16_ratio.cache_clear()
    return cached_bf16_ratio()


def test_the_first_measurement_holds_for_later_processes(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    assert measured(monkeypatch, 0.5) == 0.5
    assert measured(monkeypatch, 50.0) == 0.5
    assert list(json.loads(cache.read_text()).values()) == [0.5]


def test_another_processor_or_torch_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    measured(monkeypatch, 0.5)
    monkeypatch.setattr(bf16_ratio, "cpu_model", lambda: "CPU B")
    assert measured(monkeypatch, 50.0) == 50.0
    monkeypatch.setattr(bf16_ratio, "installed_version", lambda package: "9.9")
    assert measured(monkeypatch, 70.0) == 70.0
    monkeypatch.undo()


@pytest.mark.parametrize("content", ["", "[1]", '{"CPU A": "fast"}', None])
def test_a_file_that_is_corrupted_or_cannot_be_written_is_ignored(
    content: str | None, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    if content is None:
        cache.parent.write_text("a file in the place of the folder")
    else:
        cache.parent.mkdir()
        cache.write_text(content)
    assert measured(monkeypatch, 0.7) == 0.7


def test_a_plan_resolves_auto_by_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision.torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(precision, "_cpu_has_bf16", lambda: True)
    measured(monkeypatch, 50.0)
    assert LocalRegistry().recipe(Recipe(precision="auto")).precision == "fp32"
    assert LocalRegistry().recipe(Recipe(precision="bf16")).precision == "bf16"
