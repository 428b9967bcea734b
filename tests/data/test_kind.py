from pathlib import Path

from kdbench.data import DATASETS, Dataset, DatasetKind


def load_nothing(*, root: str) -> Dataset:
    raise NotImplementedError(root)


KIND = DatasetKind(
    name="mine",
    load=load_nothing,
    description="two layouts",
    source="your own files",
    file_sets=(("train-*.csv", "test.csv"), ("all.csv",)),
)


def test_the_first_complete_layout_is_found(tmp_path: Path) -> None:
    assert KIND.find_files(str(tmp_path)) == []
    for name in ("train-1.csv", "train-0.csv", "all.csv"):
        (tmp_path / name).touch()
    assert KIND.find_files(str(tmp_path)) == [tmp_path / "all.csv"]
    (tmp_path / "test.csv").touch()
    assert KIND.find_files(str(tmp_path)) == [tmp_path / name for name in ("train-0.csv", "train-1.csv", "test.csv")]


def test_the_first_missing_file_is_that_of_the_first_layout(tmp_path: Path) -> None:
    assert KIND.find_first_missing(str(tmp_path)) == tmp_path / "train-*.csv"
    (tmp_path / "train-0.csv").touch()
    assert KIND.find_first_missing(str(tmp_path)) == tmp_path / "test.csv"


def test_without_file_sets_the_root_itself_is_required(tmp_path: Path) -> None:
    kind, root = DATASETS["npz"], tmp_path / "mine.npz"
    assert (kind.find_files(str(root)), kind.find_first_missing(str(root))) == ([], root)
    root.touch()
    assert kind.find_files(str(root)) == [root]
