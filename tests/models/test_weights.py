"""Weights of files and runs: what identifies them, and which are refused."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from kdbench import models
from kdbench.errors import NetworkError
from kdbench.models import weights


def mlp(width: int = 4) -> torch.nn.Module:
    return models.build(f"mlp_{width}", num_classes=3, image_shape=(1, 2, 2))


def saved(folder: Path, state: dict[str, Tensor], name: str = "w.safetensors") -> str:
    save_file(state, folder / name)
    return str(folder / name)


def run_folder(folder: Path, state: dict[str, Tensor]) -> str:
    saved(folder, {f"student.{k}": v for k, v in state.items()} | {"peer.x": torch.ones(2)}, "weights.safetensors")
    (folder / "result.json").write_text(json.dumps({"status": "done"}))
    return str(folder)


def test_a_run_and_a_file_of_equal_content_are_the_same(tmp_path: Path) -> None:
    state = mlp().state_dict()
    (tmp_path / "run").mkdir()
    run, file = run_folder(tmp_path / "run", state), saved(tmp_path, state)
    assert weights.content(run) == weights.content(file) == weights.content(f"{run}/weights.safetensors")
    assert len(weights.content(run)) == 16


@pytest.mark.parametrize("change", ["value", "type", "name"])
def test_other_content_is_another(tmp_path: Path, change: str) -> None:
    state = {"a": torch.ones(2, 3), "b": torch.tensor(4)}
    before = weights.content(saved(tmp_path, state))
    changed = {
        "value": {**state, "b": torch.tensor(5)},
        "type": {**state, "a": state["a"].half()},
        "name": {"c": state["a"], "b": state["b"]},
    }[change]
    assert weights.content(saved(tmp_path, changed)) != before


def test_weights_are_loaded(tmp_path: Path) -> None:
    source, target = mlp(), mlp()
    path = saved(tmp_path, source.state_dict())
    weights.load(path, weights.content(path), target)
    assert all(torch.equal(value, source.state_dict()[key]) for key, value in target.state_dict().items())


def test_weights_that_have_changed_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, mlp().state_dict())
    identity = weights.content(path)
    saved(tmp_path, mlp().state_dict())
    with pytest.raises(NetworkError, match=r"w\.safetensors have changed since the matrix was planned; run the matrix"):
        weights.load(path, identity, mlp())


def test_weights_of_another_shape_are_refused_with_the_first_that_do_not_fit(tmp_path: Path) -> None:
    first = next(iter(mlp().state_dict()))
    path = saved(tmp_path, mlp(5).state_dict())
    with torch.device("meta"), pytest.raises(NetworkError) as caught:
        weights.check(path, mlp())
    assert f"'{first}' is (5, 4) instead of (4, 4); " in str(caught.value)
    assert path in str(caught.value)
    assert str(caught.value).endswith("same architecture, number of classes and shape of images")


def test_names_that_do_not_fit_are_counted(tmp_path: Path) -> None:
    state = mlp().state_dict()
    path = saved(tmp_path, {f"x{number}": torch.ones(1) for number in range(3)} | {"head.weight": state["head.weight"]})
    missing = len(state) - 1
    with pytest.raises(NetworkError, match=rf"' is missing; .* is missing; .*, and {missing + 3 - 3} more; take"):
        weights.check(path, mlp())


def test_a_path_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NetworkError, match=r"gone: there are no weights; 'weights' must name a safetensors file or"):
        weights.content(str(tmp_path / "gone"))


def test_a_run_that_has_not_finished_is_refused(tmp_path: Path) -> None:
    run_folder(tmp_path, mlp().state_dict())
    (tmp_path / "result.json").unlink()
    with pytest.raises(NetworkError, match=r"must be the folder of a finished run, but has no result\.json"):
        weights.content(str(tmp_path))


@pytest.mark.parametrize("damage", ["cut", "pickle"])
def test_a_file_that_is_no_safetensors_is_refused(tmp_path: Path, damage: str) -> None:
    file = Path(saved(tmp_path, mlp().state_dict()))
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:-8])
    else:
        torch.save(mlp().state_dict(), file)
    with pytest.raises(NetworkError, match=r"w\.safetensors: must be a safetensors file, whole and readable, got: "):
        weights.content(str(file))
