"""What is known of data sets without their files, held against the files and against the readers' own split."""

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
from kdbench.data.dataset import assemble
from kdbench.data.downloads import CIFAR10, CIFAR100, FASHION_MNIST, IDX, MNIST
from kdbench.data.prepare import prepare
from kdbench.data.remote_sensing import AID, EUROSAT, NWPU_RESISC45, UC_MERCED, Land
from kdbench.data.splits import hold_out_test, split
from kdbench.errors import DataError

Unpack = Callable[[str], Path]
KNOWN = ("mnist", "fashion_mnist", "cifar10", "cifar100", "eurosat", "uc_merced", "aid", "nwpu_resisc45")


def spec(kind: str, root: Path, **options: int | bool) -> DataSpec:
    return DataSpec("mine", kind, {"root": str(root), **options})


@pytest.mark.parametrize(
    ("kind", "source", "options"),
    [
        ("mnist", "mnist", {}),
        ("fashion_mnist", "fashion-mnist", {"samples": 130, "resize": 5}),
        ("uc_merced", "uc-merced", {"resize": 4, "grayscale": True}),
    ],
)
def test_an_outline_agrees_with_the_real_data(
    unpack: Unpack, kind: str, source: str, options: dict[str, int | bool]
) -> None:
    there = spec(kind, unpack(source), **options)
    loaded, info = data.load(there), data.info(there)
    assert np.bincount(loaded.train_labels).tolist() == list(info.class_sizes)
    assert (info.num_classes, info.image_shape) == (loaded.num_classes, loaded.image_shape)


def test_cifar_100_has_as_many_images_of_each_class(shared: Path) -> None:
    labels = np.load(shared / "data" / "cifar-100" / "labels.npz")
    assert np.bincount(labels["train_y"]).tolist() == list(CIFAR100.info.class_sizes)


@pytest.mark.parametrize(
    ("kind", "train", "classes", "shape"),
    [
        ("mnist", 60_000, 10, (1, 28, 28)),
        ("fashion_mnist", 60_000, 10, (1, 28, 28)),
        ("cifar10", 50_000, 10, (3, 32, 32)),
        ("cifar100", 50_000, 100, (3, 32, 32)),
        ("eurosat", 21_600, 10, (3, 64, 64)),
        ("aid", 8_000, 30, (3, 600, 600)),
        ("nwpu_resisc45", 25_200, 45, (3, 256, 256)),
    ],
)
def test_outlines_are_those_of_the_publications(
    tmp_path: Path, kind: str, train: int, classes: int, shape: tuple[int, int, int]
) -> None:
    info = data.info(spec(kind, tmp_path))
    assert (len(info.train_labels), info.num_classes, info.image_shape) == (train, classes, shape)


@pytest.mark.parametrize("land", [EUROSAT, UC_MERCED, AID, NWPU_RESISC45], ids=lambda land: land.name)
def test_a_fifth_is_held_out_as_the_reader_does(land: Land) -> None:
    labels = np.repeat(np.arange(len(land.class_sizes)), land.class_sizes)
    train, _ = hold_out_test(labels)
    assert np.bincount(labels[train]).tolist() == list(land.info.class_sizes)


@given(
    sizes=st.lists(st.integers(2, 30), min_size=2, max_size=6),
    share=st.floats(0.01, 1),
    resize=st.none() | st.integers(1, 5),
    grayscale=st.booleans(),
    validation=st.sampled_from([0.0, 0.1, 0.37]),
    seed=st.integers(0, 99),
)
def test_options_change_an_outline_as_they_change_the_data(
    sizes: list[int], share: float, resize: int | None, grayscale: bool, validation: float, seed: int
) -> None:
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))
    images = np.zeros((len(labels), 3, 4, 4), dtype=np.uint8)
    options: Any = {"samples": max(1, int(share * len(labels))), "resize": resize, "grayscale": grayscale}
    made = prepare(assemble(images, labels, images[:1], labels[:1], len(sizes)), **options)
    info = DatasetInfo(tuple(sizes), channels=3, side=4).prepared(**options)
    assert (info.num_classes, info.image_shape) == (made.num_classes, made.image_shape)
    assert np.bincount(made.train_labels, minlength=len(sizes)).tolist() == list(info.class_sizes)
    places = [split(of.train_labels, validation, 7) for of in (made, info)]
    assert len(places[0].train) == len(places[1].train)


@pytest.mark.parametrize("kind", KNOWN)
def test_what_is_absent_says_what_belongs_where_and_stays_absent(tmp_path: Path, kind: str) -> None:
    root = tmp_path / "data"
    reason = data.absent(spec(kind, root))
    assert reason is not None
    assert reason.startswith(f"data set 'mine' is not there: {root / data.DATASETS[kind].places[0]} does not exist; ")
    assert f"'root' must name {data.DATASETS[kind].layout}" in reason
    assert reason.endswith("training downloads it where there is internet") == bool(data.DATASETS[kind].fetch)
    assert data.info(spec(kind, root, resize=8)).image_shape[1:] == (8, 8)
    assert not root.exists()


def test_images_of_several_sizes_need_resize(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="data set 'mine': its images differ in size; give the option resize"):
        data.info(spec("uc_merced", tmp_path))


def test_more_samples_than_are_known_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="data set 'mine': samples is 60001, but there are 60000"):
        data.info(spec("mnist", tmp_path, samples=60_001))


@pytest.mark.parametrize("kind", ["npz", "folder", "parquet"])
def test_of_data_of_ones_own_nothing_is_known(tmp_path: Path, kind: str) -> None:
    absent = spec(kind, tmp_path / "nothing")
    with pytest.raises(DataError, match=re.escape(f"{tmp_path / 'nothing'} does not exist; 'root' must name")):
        data.info(absent)
    assert data.absent(absent) is not None


def test_digits_are_never_absent() -> None:
    assert data.absent(DataSpec("digits", "digits")) is None
    with pytest.raises(DataError, match="data set 'digits': nothing is known of it"):
        data.info(DataSpec("digits", "digits"))


def test_an_unknown_option_is_refused_also_where_files_are_absent(tmp_path: Path) -> None:
    for refusing in (data.absent, data.info):
        with pytest.raises(DataError, match="has no option 'sample'; did you mean 'samples'"):
            refusing(spec("mnist", tmp_path, sample=3))


def test_archives_count_only_whole(unpack: Unpack, tmp_path: Path) -> None:
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name in IDX:
        shutil.copy(unpack("mnist") / "MNIST" / "raw" / f"{name}.gz", raw)
    assert data.absent(spec("mnist", tmp_path)) is None
    (raw / f"{IDX[3]}.gz").write_bytes(b"cut off")
    assert f"{raw / IDX[0]} does not exist" in str(data.absent(spec("mnist", tmp_path)))


def test_half_of_the_files_are_not_enough(tmp_path: Path) -> None:
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name in IDX[:2]:
        (raw / name).touch()
    assert f"{raw / IDX[2]} does not exist" in str(data.absent(spec("mnist", tmp_path)))
    for name in IDX[2:]:
        (raw / name).touch()
    assert data.absent(spec("mnist", tmp_path)) is None


def test_archives_are_those_that_torchvision_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for idx in (MNIST, FASHION_MNIST):
        known = dict(getattr(torchvision.datasets, idx.original).resources)
        assert {Path(name).name: md5 for name, md5 in idx.archives} == known
    for cifar in (CIFAR10, CIFAR100):
        original = getattr(torchvision.datasets, cifar.original)
        assert cifar.archives == ((original.filename, original.tgz_md5),)
        files = [*original.train_list, *original.test_list, [original.meta["filename"]]]
        assert cifar.places == tuple(f"{original.base_folder}/{name}" for name, *_ in files)
    asked: list[tuple[str, str]] = []

    def taken(url: str, download_root: str, md5: str) -> None:
        asked.append((f"{download_root}/{Path(url).name}", md5))

    monkeypatch.setattr(torchvision.datasets.eurosat, "download_and_extract_archive", taken)
    with pytest.raises(DataError, match="EuroSAT cannot be read there"):
        data.load(spec("eurosat", tmp_path))
    assert asked == [(f"{tmp_path}/{name}", md5) for name, md5 in EUROSAT.archives]


def test_corrupted_files_are_no_reason_to_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cifar-100-python").mkdir()
    for name in CIFAR100.places:
        (tmp_path / name).write_bytes(pickle.dumps({}))
    asked: list[Any] = []
    monkeypatch.setattr(torchvision.datasets.utils, "download_url", lambda *given, **options: asked.append(given))
    corrupted = spec("cifar100", tmp_path)
    assert data.absent(corrupted) is None
    with pytest.raises(DataError, match=r"CIFAR100 cannot be read there .*; delete what is corrupted"):
        data.load(corrupted)
    assert asked == []
