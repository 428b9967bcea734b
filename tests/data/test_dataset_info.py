"""What is known of data sets without their files, compared with the files and with the split of the loaders."""

import pickle
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torchvision.datasets
from hypothesis import given
from hypothesis import strategies as st

from kdbench import data
from kdbench.data import DatasetInfo, DataSpec
from kdbench.data.cifar import CIFAR10, CIFAR100
from kdbench.data.dataset import assemble
from kdbench.data.kind import DatasetKind
from kdbench.data.mnist import FASHION_MNIST, MNIST
from kdbench.data.prepare import prepare
from kdbench.data.remote_sensing import AID, EUROSAT, NWPU_RESISC45, UC_MERCED
from kdbench.data.splits import hold_out_test, split
from kdbench.errors import DataError

Unpack = Callable[[str], Path]
IDX = tuple(Path(file).name for file in MNIST.file_sets[0])
TORCHVISION = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST", "cifar10": "CIFAR10", "cifar100": "CIFAR100"}
KNOWN = ("mnist", "fashion_mnist", "cifar10", "cifar100", "eurosat", "uc_merced", "aid", "nwpu_resisc45")


def spec(kind: str, root: Path, **options: int | bool) -> DataSpec:
    return DataSpec("mine", kind, {"root": str(root), **options})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "source", "options"),
    [
        ("mnist", "mnist", {}),
        ("fashion_mnist", "fashion-mnist", {"samples": 130, "resize": 5}),
        ("uc_merced", "uc-merced", {"resize": 4, "grayscale": True}),
    ],
)
def test_the_info_agrees_with_the_real_data(
    unpack: Unpack, kind: str, source: str, options: dict[str, int | bool]
) -> None:
    available = spec(kind, unpack(source), **options)
    loaded, info = data.load(available), data.get_info(available)
    assert np.bincount(loaded.train_labels).tolist() == list(info.class_sizes)
    assert (info.num_classes, info.image_shape) == (loaded.num_classes, loaded.image_shape)
    assert info.test_size == len(loaded.test_labels)


def test_the_info_agrees_with_the_labels_of_cifar_100(shared: Path) -> None:
    labels = np.load(shared / "data" / "cifar-100" / "labels.npz")
    assert CIFAR100.info is not None
    assert np.bincount(labels["train_y"]).tolist() == list(CIFAR100.info.class_sizes)


@pytest.mark.parametrize(
    ("kind", "sizes", "classes", "shape"),
    [
        ("mnist", (60_000, 10_000), 10, (1, 28, 28)),
        ("fashion_mnist", (60_000, 10_000), 10, (1, 28, 28)),
        ("cifar10", (50_000, 10_000), 10, (3, 32, 32)),
        ("cifar100", (50_000, 10_000), 100, (3, 32, 32)),
        ("eurosat", (21_600, 5_400), 10, (3, 64, 64)),
        ("aid", (8_000, 2_000), 30, (3, 600, 600)),
        ("nwpu_resisc45", (25_200, 6_300), 45, (3, 256, 256)),
    ],
)
def test_the_info_agrees_with_the_publications(
    tmp_path: Path, kind: str, sizes: tuple[int, int], classes: int, shape: tuple[int, int, int]
) -> None:
    info = data.get_info(spec(kind, tmp_path))
    assert ((len(info.train_labels), info.test_size), info.num_classes, info.image_shape) == (sizes, classes, shape)


@pytest.mark.parametrize("kind", [EUROSAT, UC_MERCED, AID, NWPU_RESISC45], ids=lambda kind: kind.name)
def test_the_info_holds_out_as_many_images_as_the_loader(kind: DatasetKind) -> None:
    assert kind.info is not None
    labels = np.repeat(np.arange(kind.info.num_classes), [size * 5 // 4 for size in kind.info.class_sizes])
    train, test = hold_out_test(labels)
    assert kind.info.test_size == len(test)
    assert np.bincount(labels[train]).tolist() == list(kind.info.class_sizes)


@given(
    sizes=st.lists(st.integers(2, 30), min_size=2, max_size=6),
    share=st.floats(0.01, 1),
    resize=st.none() | st.integers(1, 5),
    grayscale=st.booleans(),
    validation=st.sampled_from([0.0, 0.1, 0.37]),
    seed=st.integers(0, 99),
)
def test_options_change_the_info_as_they_change_the_data(
    sizes: list[int], share: float, resize: int | None, grayscale: bool, validation: float, seed: int
) -> None:
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))
    images, test = np.zeros((len(labels), 3, 4, 4), dtype=np.uint8), np.zeros((7, 3, 4, 4), dtype=np.uint8)
    options: Any = {"samples": max(1, int(share * len(labels))), "resize": resize, "grayscale": grayscale}
    prepared = prepare(assemble(images, labels, test, np.zeros(7, dtype=np.int64), len(sizes)), **options)
    info = DatasetInfo(tuple(sizes), channels=3, side=4, test_size=7).prepare(**options)
    assert (info.num_classes, info.image_shape) == (prepared.num_classes, prepared.image_shape)
    assert info.test_size == prepared.test_size == 7
    assert np.bincount(prepared.train_labels, minlength=len(sizes)).tolist() == list(info.class_sizes)
    indices = [split(labels, validation, 7) for labels in (prepared.train_labels, info.train_labels)]
    assert len(indices[0].train) == len(indices[1].train)


@pytest.mark.parametrize("kind", KNOWN)
def test_missing_data_are_described_and_not_created(tmp_path: Path, kind: str) -> None:
    root = tmp_path / "data"
    reason = data.find_missing(spec(kind, root))
    assert reason is not None
    assert reason.startswith(
        f"data set 'mine' not found: {root / data.DATASETS[kind].file_sets[0][0]} does not exist; "
    )
    assert f"'root' must name {data.DATASETS[kind].layout}" in reason
    assert reason.endswith("training downloads it if there is internet access") == bool(data.DATASETS[kind].download)
    assert data.get_info(spec(kind, root, resize=8)).image_shape[1:] == (8, 8)
    assert not root.exists()


def test_images_of_different_sizes_require_resize(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="data set 'mine': its images differ in size; set the option resize"):
        data.get_info(spec("uc_merced", tmp_path))


def test_more_samples_than_images_raise(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="data set 'mine': samples is 60001, but there are 60000"):
        data.get_info(spec("mnist", tmp_path, samples=60_001))


@pytest.mark.parametrize("kind", ["npz", "folder", "parquet"])
def test_your_own_data_set_has_no_info_without_its_files(tmp_path: Path, kind: str) -> None:
    missing = spec(kind, tmp_path / "nothing")
    with pytest.raises(DataError, match=re.escape(f"{tmp_path / 'nothing'} does not exist; 'root' must name")):
        data.get_info(missing)
    assert data.find_missing(missing) is not None


def test_digits_are_never_missing() -> None:
    assert data.find_missing(DataSpec("digits", "digits")) is None
    with pytest.raises(DataError, match="data set 'digits': kind 'digits' has no published sizes"):
        data.get_info(DataSpec("digits", "digits"))


def test_an_unknown_option_raises_even_if_files_are_missing(tmp_path: Path) -> None:
    for function in (data.find_missing, data.get_info):
        with pytest.raises(DataError, match="unknown option 'sample'; did you mean 'samples'"):
            function(spec("mnist", tmp_path, sample=3))


def test_archives_count_only_if_they_are_intact(unpack: Unpack, tmp_path: Path) -> None:
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name in IDX:
        shutil.copy(unpack("mnist") / "MNIST" / "raw" / f"{name}.gz", raw)
    assert data.find_missing(spec("mnist", tmp_path)) is None
    (raw / f"{IDX[3]}.gz").write_bytes(b"truncated")
    assert f"{raw / IDX[0]} does not exist" in str(data.find_missing(spec("mnist", tmp_path)))


def test_all_files_must_exist(tmp_path: Path) -> None:
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name in IDX[:2]:
        (raw / name).touch()
    assert f"{raw / IDX[2]} does not exist" in str(data.find_missing(spec("mnist", tmp_path)))
    for name in IDX[2:]:
        (raw / name).touch()
    assert data.find_missing(spec("mnist", tmp_path)) is None


def test_files_and_archives_are_those_of_torchvision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for idx in (MNIST, FASHION_MNIST):
        known = dict(getattr(torchvision.datasets, TORCHVISION[idx.name]).resources)
        assert {Path(name).name: md5 for name, md5 in idx.archives} == known
    for cifar in (CIFAR10, CIFAR100):
        original = getattr(torchvision.datasets, TORCHVISION[cifar.name])
        assert cifar.archives == ((original.filename, original.tgz_md5),)
        files = [*original.train_list, *original.test_list, [original.meta["filename"]]]
        assert cifar.file_sets[0] == tuple(f"{original.base_folder}/{name}" for name, *_ in files)
    requested: list[tuple[str, str]] = []

    def record(url: str, download_root: str, md5: str) -> None:
        requested.append((f"{download_root}/{Path(url).name}", md5))

    monkeypatch.setattr(torchvision.datasets.eurosat, "download_and_extract_archive", record)
    with pytest.raises(DataError, match="EuroSAT can be neither read nor downloaded"):
        data.load(spec("eurosat", tmp_path))
    assert requested == [(f"{tmp_path}/{name}", md5) for name, md5 in EUROSAT.archives]


def test_corrupted_files_are_not_downloaded_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cifar-100-python").mkdir()
    for name in CIFAR100.file_sets[0]:
        (tmp_path / name).write_bytes(pickle.dumps({}))
    requested: list[Any] = []
    monkeypatch.setattr(torchvision.datasets.utils, "download_url", lambda *given, **options: requested.append(given))
    corrupted = spec("cifar100", tmp_path)
    assert data.find_missing(corrupted) is None
    with pytest.raises(DataError, match=r"CIFAR100 cannot be read .*; replace the corrupted files"):
        data.load(corrupted)
    assert requested == []
