"""Weights of files and runs: digest, loading and errors."""

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


def save(folder: Path, state: dict[str, Tensor], name: str = "w.safetensors") -> str:
    save_file(state, folder / name)
    return str(folder / name)


def write_run(folder: Path, state: dict[str, Tensor]) -> str:
    save(folder, {f"student.{k}": v for k, v in state.items()} | {"peer.x": torch.ones(2)}, "weights.safetensors")
    (folder / "result.json").write_text(json.dumps({"status": "done"}))
    return str(folder)


def test_a_run_and_a_file_of_equal_content_have_the_same_digest(tmp_path: Path) -> None:
    state = mlp().state_dict()
    (tmp_path / "run").mkdir()
    run, file = write_run(tmp_path / "run", state), save(tmp_path, state)
    assert (
        weights.compute_digest(run)
        == weights.compute_digest(file)
        == weights.compute_digest(f"{run}/weights.safetensors")
    )
    assert len(weights.compute_digest(run)) == 16


@pytest.mark.parametrize("change", ["value", "type", "name"])
def test_a_changed_tensor_changes_the_digest(tmp_path: Path, change: str) -> None:
    state = {"a": torch.ones(2, 3), "b": torch.tensor(4)}
    before = weights.compute_digest(save(tmp_path, state))
    changed = {
        "value": {**state, "b": torch.tensor(5)},
        "type": {**state, "a": state["a"].half()},
        "name": {"c": state["a"], "b": state["b"]},
    }[change]
    assert weights.compute_digest(save(tmp_path, changed)) != before


def test_load_sets_all_weights(tmp_path: Path) -> None:
    source, target = mlp(), mlp()
    path = save(tmp_path, source.state_dict())
    weights.load(path, weights.compute_digest(path), target)
    assert all(torch.equal(value, source.state_dict()[key]) for key, value in target.state_dict().items())


def test_changed_weights_raise(tmp_path: Path) -> None:
    path = save(tmp_path, mlp().state_dict())
    identity = weights.compute_digest(path)
    save(tmp_path, mlp().state_dict())
    with pytest.raises(
        NetworkError, match=r"w\.safetensors: the weights have changed since the matrix was planned; run the matrix"
    ):
        weights.load(path, identity, mlp())


def test_weights_of_another_shape_raise_with_the_first_that_differ(tmp_path: Path) -> None:
    first = next(iter(mlp().state_dict()))
    path = save(tmp_path, mlp(5).state_dict())
    with torch.device("meta"), pytest.raises(NetworkError) as caught:
        weights.check(path, mlp())
    assert f"'{first}' has shape (5, 4) instead of (4, 4); " in str(caught.value)
    assert path in str(caught.value)
    assert str(caught.value).endswith("same architecture, number of classes and image shape")


def test_further_differences_are_counted(tmp_path: Path) -> None:
    state = mlp().state_dict()
    path = save(tmp_path, {f"x{number}": torch.ones(1) for number in range(3)} | {"head.weight": state["head.weight"]})
    missing = len(state) - 1
    with pytest.raises(NetworkError, match=rf"' is missing; .* is missing; .*, and {missing + 3 - 3} more; use"):
        weights.check(path, mlp())


def test_a_missing_path_raises(tmp_path: Path) -> None:
    with pytest.raises(NetworkError, match=r"gone: not found; 'weights' must name a safetensors file or"):
        weights.compute_digest(str(tmp_path / "gone"))


def test_an_unfinished_run_raises(tmp_path: Path) -> None:
    write_run(tmp_path, mlp().state_dict())
    (tmp_path / "result.json").unlink()
    with pytest.raises(NetworkError, match=r"not the folder of a finished run \(result\.json is missing\)"):
        weights.compute_digest(str(tmp_path))


@pytest.mark.parametrize("corruption", ["cut", "pickle"])
def test_a_file_that_is_no_safetensors_raises(tmp_path: Path, corruption: str) -> None:
    file = Path(save(tmp_path, mlp().state_dict()))
    if corruption == "cut":
        file.write_bytes(file.read_bytes()[:-8])
    else:
        torch.save(mlp().state_dict(), file)
    with pytest.raises(NetworkError, match=r"w\.safetensors: cannot be read as a safetensors file \("):
        weights.compute_digest(str(file))
