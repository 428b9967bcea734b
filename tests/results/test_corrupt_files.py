"""Corrupted files that the next run of a matrix rewrites."""

from collections.abc import Callable

import pytest
from timings import add_timing

from kdbench.matrix import RunSpec
from kdbench.results import MatrixIndex, Store
from kdbench.results.integrity import corrupt_files, corrupted_indexes, corrupted_timings


def test_an_intact_folder_has_no_corrupted_files(
    store: Store, teacher: RunSpec, index: Callable[..., MatrixIndex]
) -> None:
    store.write_index(index(teacher))
    add_timing(store.timings, "cnn")
    assert list(corrupt_files(store)) == []


@pytest.mark.parametrize(
    "corrupt",
    [
        *(lambda text: text[: len(text) // 2], lambda _: "", lambda _: "[1]"),
        *(lambda text: text.replace("thesis", "other"), lambda text: text.replace('"cells"', '"cell"')),
        lambda text: text.replace('"runs": {', '"runs": 5, "was": {'),
    ],
)
def test_a_corrupted_index_is_named(
    store: Store, teacher: RunSpec, index: Callable[..., MatrixIndex], corrupt: Callable[[str], str]
) -> None:
    store.write_index(index(teacher))
    path = store.matrices / "thesis.json"
    path.write_text(corrupt(path.read_text()))
    ((name, why),) = corrupted_indexes(store).items()
    assert name == "thesis"
    assert why.startswith(f"{path}: corrupted (")
    assert why.endswith("; run the matrix again to rewrite the file")
    assert "\n" not in why
    assert store.index("thesis") is None


@pytest.mark.parametrize("content", ["", "{", '{"inference_ms": "fast"}'])
def test_a_corrupted_timing_is_named(store: Store, content: str) -> None:
    add_timing(store.timings, "mlp")
    path = store.timings / "cnn.json"
    path.write_text(content)
    assert list(corrupted_timings(store)) == [f"{path}: corrupted; run the matrix again to time the network again"]
