"""Plans with custom code, and matrices that are refused before anything trains."""

from collections.abc import Callable
from pathlib import Path

import pytest
from plans import RECIPE, of_cell, plan_of, with_method

from kdbench.errors import MatrixError


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Return a function that writes a custom module and returns its name."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(text: str) -> str:
        name = f"own_{abs(hash(tmp_path))}"
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
        return name

    return write


OWN = """
from typing import final
from torch import nn
from kdbench import Offline, Output

@final
class Own(Offline):
    paper = "none"
    def losses(self, student, teacher, batch):
        return {"ce": student.logits.square().mean()}
    @classmethod
    def incompatible(cls, student, teacher, task, **hyperparameters):
        __CHECK__

class Net(nn.Module):
    def __init__(self, num_classes, image_shape, width=4):
        super().__init__()
        self.embed = nn.Linear(64, width)
        self.head = nn.Linear(width, num_classes)
    def forward(self, images):
        embedding = self.embed(images.flatten(1))
        return Output(self.head(embedding), (), (), embedding)

def broken(num_classes, image_shape):
    raise RuntimeError("no such width")
"""


def own_code(check: str = "return None") -> str:
    return OWN.replace("__CHECK__", check)


def test_the_source_of_a_users_method_is_in_its_runs(module: Callable[[str], str]) -> None:
    plan = with_method(f"{module(own_code())}:Own")
    (run, *_) = [run for run in plan.runs if run.method.endswith(":Own")]
    assert run.parts[0].source is not None
    assert len(run.parts[0].source) == 16
    assert plan.index().digest == ""


def test_the_source_of_a_users_network_is_in_its_runs(module: Callable[[str], str]) -> None:
    factory = f"{module(own_code())}:Net"
    named = {
        name: plan_of(
            pairs=[{"teacher": "cnn_8_16", "student": name}],
            network={name: {"factory": factory, "width": 4}},
        )
        for name in ("mine", "yours")
    }
    mine, yours = (of_cell(plan, "scratch")[0] for plan in named.values())
    assert mine.student.source is not None
    assert mine.id == yours.id
    wider = {"mine": {"factory": factory, "width": 5}}
    assert (
        of_cell(plan_of(pairs=[{"teacher": "cnn_8_16", "student": "mine"}], network=wider), "scratch")[0].id != mine.id
    )


def test_an_exception_of_the_users_own_check(module: Callable[[str], str]) -> None:
    name = module(own_code("raise KeyError('stage')"))
    with pytest.raises(MatrixError, match=rf"m.toml: {name}:Own on digits: the check of .* raises KeyError: 'stage'"):
        with_method(f"{name}:Own")


def test_an_exception_of_the_users_own_network(module: Callable[[str], str]) -> None:
    network = {"mine": {"factory": f"{module(own_code())}:broken"}}
    with pytest.raises(MatrixError, match="scratch on digits: network 'mine' raises RuntimeError: no such width"):
        plan_of(pairs=[{"teacher": "cnn_8_16", "student": "mine"}], network=network)


def test_a_peer_that_cannot_be_built_is_refused_before_anything_trains(module: Callable[[str], str]) -> None:
    network = {"mine": {"factory": f"{module(own_code())}:broken"}}
    pair = {"teacher": "cnn_8_16", "student": "mlp_16", "peers": ["mine"]}
    with pytest.raises(MatrixError, match="dml on digits: network 'mine' raises"):
        plan_of(pairs=[pair], network=network, methods={"dml": {}})


@pytest.mark.parametrize("text", ["def f(:", "import nothing_there", "1 / 0"])
def test_a_users_module_that_cannot_be_imported(module: Callable[[str], str], text: str) -> None:
    name = module(text)
    with pytest.raises(MatrixError, match=rf"^m\.toml: methods\.{name}:Own: method '{name}:Own'"):
        with_method(f"{name}:Own")


def test_too_few_images_for_a_batch_are_refused() -> None:
    with pytest.raises(MatrixError, match="a run has 100 training images, which is less than one batch of 101"):
        plan_of(recipe={**RECIPE, "batch_size": 101})


def test_more_images_than_available_are_refused() -> None:
    with pytest.raises(MatrixError, match=r"m\.toml: .*train_samples is 5000, but there are \d+ training images"):
        plan_of(recipe={**RECIPE, "train_samples": 5000})


def test_tf32_without_a_gpu_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(MatrixError, match=r'm\.toml: recipe\.\w+: precision "tf32" needs a GPU with TF32'):
        plan_of(recipe={**RECIPE, "precision": "tf32"})


def test_a_method_that_is_not_calibrated_is_incompatible_with_the_monitor_loss() -> None:
    plan = plan_of(methods={"spherical": {}, "vanilla": {}}, recipe={**RECIPE, "monitor": "loss"})
    (incompatible,) = plan.incompatible
    assert incompatible.cell.label == "spherical"
    assert incompatible.reason == (
        'spherical leaves the scale of its logits free, so its loss cannot be monitored; set monitor = "accuracy"'
    )
    assert not plan_of(methods={"spherical": {}}, recipe={**RECIPE, "monitor": "accuracy"}).incompatible
