"""Plans without the files of data sets: the same cells and counts as with them, and no downloads."""

import re
import socket
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kdbench
from kdbench.data import DATASETS
from kdbench.data.mnist import FASHION_MNIST
from kdbench.errors import DataError, MatrixError
from kdbench.matrix import parse
from kdbench.plan import Plan, make_plan

BASE: dict[str, Any] = {
    "name": "m",
    "seeds": [0, 1],
    "datasets": ["fashion_mnist"],
    "pairs": [{"teacher": "cnn_8_16", "student": "mlp_16"}, {"teacher": "cnn_8_16", "student": "cnn_4_8"}],
    "recipe": {"precision": "fp32"},
    "methods": {"vanilla": {"alpha": [0.1, 0.9]}, "attention": {}, "fitnets": {}, "dml + vanilla": {}, "zskt": {}},
    "exclude": [{"method": "vanilla", "seed": 1}],
}


@pytest.fixture(autouse=True)
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, without data."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(autouse=True)
def requests(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The hosts that were requested."""
    hosts: list[Any] = []

    def refused(host: Any, *_: Any, **__: Any) -> Any:
        hosts.append(host)
        raise socket.gaierror("no route to host")

    monkeypatch.setattr(socket, "getaddrinfo", refused)
    return hosts


def planned(provisional: bool = True, **changes: Any) -> Plan:
    return make_plan(parse({**BASE, **changes}, "m.toml"), provisional)


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of Fashion-MNIST's layout and size, black, their labels in no order."""
    root = tmp_path_factory.mktemp("complete")
    train = np.random.default_rng(0).permutation(FASHION_MNIST.info.train_labels)
    train_images, train_labels, test_images, test_labels = FASHION_MNIST.file_sets[0]
    for images, labels, count in ((train_images, train_labels, 60_000), (test_images, test_labels, 10_000)):
        (root / images).parent.mkdir(parents=True, exist_ok=True)
        (root / images).write_bytes(struct.pack(">4i", 0x803, count, 28, 28) + bytes(count * 28 * 28))
        (root / labels).write_bytes(struct.pack(">2i", 0x801, count) + train[:count].astype(np.uint8).tobytes())
    return root


def summary(plan: Plan) -> list[Any]:
    """All of a plan but its ids."""
    cells = [(c.kind, c.label, c.dataset.name, c.pair, [*c.runs]) for c in plan.cells]
    runs = [(run.student.name, run.method, run.hyperparameters, run.recipe, run.seed) for run in plan.runs]
    incompatible = [(i.cell.label, i.cell.pair, i.reason, len(i.cell.runs)) for i in plan.incompatible]
    return [cells, runs, incompatible, plan.excluded, plan.warnings]


@pytest.mark.parametrize(
    ("options", "changes"),
    [
        ({}, {}),
        ({"samples": 333, "resize": 16}, {"protocol": {"validation": 0.37}}),
        ({"grayscale": True}, {"recipe": {"precision": "fp32", "train_samples": 101, "batch_size": 100}}),
    ],
)
def test_a_provisional_plan_differs_only_in_ids(
    complete: Path, options: dict[str, Any], changes: dict[str, Any]
) -> None:
    def of(root: Path) -> Plan:
        table = {"mine": {"kind": "fashion_mnist", "root": str(root), **options}}
        return planned(datasets=["mine"], dataset=table, **changes)

    present, missing = of(complete), of(Path("data").absolute())
    assert summary(present) == summary(missing)
    assert {i.cell.label for i in present.incompatible} == {"attention", "fitnets", "dml + vanilla"}
    assert (list(present.provisional), list(missing.provisional)) == ([], ["mine"])
    assert not {run.id for run in present.runs} & {run.id for run in missing.runs}
    assert all(run.dataset.fingerprint for run in present.runs)
    assert not any(run.dataset.fingerprint for run in missing.runs)


@pytest.mark.parametrize("short", [{"train_samples": 99}, {"train_samples": 60_000}])
def test_an_invalid_size_is_refused_without_the_data(complete: Path, short: dict[str, int]) -> None:
    errors = []
    for root in (str(complete), "data"):
        table = {"fashion_mnist": {"root": root}}
        with pytest.raises(MatrixError) as refused:
            planned(dataset=table, recipe={"precision": "fp32", "batch_size": 100, **short})
        errors.append(str(refused.value))
    assert errors[0] == errors[1]


def test_all_known_data_sets_are_planned_without_downloads(empty: Path, requests: list[Any]) -> None:
    names = [name for name, kind in DATASETS.items() if kind.info]
    plan = planned(datasets=["digits", *names], dataset={name: {"resize": 32} for name in names})
    assert list(plan.provisional) == names
    assert {cell.dataset.name for cell in plan.cells} == {"digits", *names}
    assert all(bool(run.dataset.fingerprint) == (run.dataset.name == "digits") for run in plan.runs)
    assert requests == []
    assert list(empty.iterdir()) == []


def test_provisional_ids_depend_on_kind_and_options() -> None:
    ids = [{run.id for run in planned(**changes).runs} for changes in ({}, {}, {"datasets": ["mnist"]})]
    assert ids[0] == ids[1]
    assert not ids[0] & ids[2]


def test_a_final_plan_downloads_the_data(requests: list[Any]) -> None:
    with pytest.raises(MatrixError, match="FashionMNIST can be neither read nor downloaded"):
        planned(provisional=False)
    assert requests


def test_a_provisional_plan_cannot_be_run() -> None:
    missing = re.escape(f"{Path.cwd() / 'data' / FASHION_MNIST.file_sets[0][0]} does not exist")
    with pytest.raises(DataError, match=f"a provisional plan cannot be run, .* missing: .*{missing}"):
        planned().index()


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (
            {"kind": "uc_merced"},
            "m.toml: dataset.mine: data set 'mine': its images differ in size; set the option resize",
        ),
        ({"kind": "folder", "root": "pictures"}, "pictures does not exist; 'root' must name a folder with one folder"),
        ({"kind": "npz", "root": "a.npz"}, "a.npz does not exist; 'root' must name an .npz file"),
        ({"kind": "parquet", "root": "shards"}, "shards does not exist; 'root' must name a folder with train-"),
    ],
)
def test_an_unknown_data_set_is_an_error(table: dict[str, Any], message: str) -> None:
    with pytest.raises(MatrixError, match=re.escape(message)):
        planned(datasets=["mine"], dataset={"mine": table})


def test_planning_in_python_downloads_nothing(empty: Path, requests: list[Any]) -> None:
    (empty / "m.toml").write_text(
        'name = "m"\ndatasets = ["cifar100"]\npairs = [{ teacher = "cnn_8_16", student = "mlp_16" }]\n'
    )
    runs = kdbench.load_matrix("m.toml").runs()
    assert [(run.student.name, run.dataset.fingerprint) for run in runs] == [("cnn_8_16", None), ("mlp_16", None)]
    assert requests == []
