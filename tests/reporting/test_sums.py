"""What the parts of a sum weigh, computed and as a note."""

import pytest
import torch
from torch import nn

from kdbench import methods
from kdbench.hyperparameters import declared, defaults
from kdbench.methods.losses import cross_entropy
from kdbench.methods.sums import Sum, not_summable
from kdbench.reporting import build_tables
from kdbench.reporting.sums import describe_sum, is_weight
from kdbench.results import IndexCell
from kdbench.training.method import Batch, Output

SUMMABLE = [name for name, one in methods.METHODS.items() if not_summable(one) is None]


def _cell(method: str, **hyperparameters: object) -> IndexCell:
    named = {name.replace("__", "."): value for name, value in hyperparameters.items()}
    return IndexCell("method", method, "d", "t", "s", method, named, {})


def test_the_weights_of_a_row() -> None:
    values = {"vanilla__alpha": 0.9, "vanilla__temperature": 4.0}
    relations = {"rkd_da__distance_weight": 25.0, "rkd_da__angle_weight": 50.0}
    cell = _cell("vanilla + rkd_da", **values, **relations)
    assert describe_sum(cell) == ("CE + 0.9 vanilla + 25 rkd_da (distance) + 50 rkd_da (angle) (vanilla alone: 0.1 CE)")
    assert describe_sum(_cell("fitnets + mine", fitnets__weight=100.0)) == "CE + 100 fitnets + mine as it is alone"
    cell = _cell("nuclear_norm + rkd_d", nuclear_norm__alpha=0.3, nuclear_norm__beta=None, rkd_d__weight=25.0)
    assert describe_sum(cell).startswith("CE + 0.3 nuclear_norm + 0.3 nuclear_norm (beta) + 25 rkd_d ")


def test_every_table_with_a_sum_has_the_note(builder) -> None:
    builder.add("sum", [0.5], hyperparameters={"a.alpha": 0.75, "b.weight": 2.0}, cell={"method": "a + b"})
    accuracy, metrics, costs, *_ = build_tables(builder.index, builder.frame)
    for table in (accuracy, metrics, costs):
        assert table.notes[-1].endswith("sum: CE + 0.75 a + 2 b (a alone: 0.25 CE).")
    builder.cells.clear()
    builder.add("a", [0.5])
    assert not any("In a sum" in note for note in build_tables(builder.index, builder.frame)[0].notes)


@pytest.mark.parametrize("name", SUMMABLE)
def test_the_note_is_what_the_losses_compute(name: str) -> None:
    """Double each weight: of the sum's terms exactly its own doubles, and the cross-entropy stays whole."""
    own = defaults(methods.find(name))
    weights = [one for one in _active(name) if is_weight(one) and own.get(one) is not None]
    assert weights
    alone, plain, whole = _terms(name, own)
    assert torch.allclose(alone["ce"], (1 - own.get("alpha", 0.0)) * whole)
    assert torch.allclose(plain["ce"], whole)
    for weight in weights:
        fixed = {**own, "beta": 0.5} if name == "nuclear_norm" else own  # by default it equals alpha
        before, after = (_terms(name, {**fixed, weight: own[weight] * factor})[1] for factor in (0.25, 0.5))
        (changed,) = [term for term in before if not torch.allclose(before[term], after[term])]
        assert torch.allclose(2 * before[changed], after[changed])


class _Network(nn.Module):
    image_shape = (3, 8, 8)

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.classifier = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(4, 5)

    def forward(self, images: torch.Tensor) -> Output:
        maps = self.convolution(images)
        embedding = maps.relu().mean((2, 3))
        return Output(self.classifier(embedding), (maps.relu(),), (maps,), embedding)


def _terms(
    name: str, values: dict[str, object]
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor], torch.Tensor]:
    """Return the terms of a method alone and its terms in a sum, and the cross-entropy."""
    torch.manual_seed(0)
    student, teacher = _Network(), _Network()
    images, labels = torch.randn(6, 3, 8, 8), torch.tensor([0, 1, 2, 3, 4, 0])
    kept = {key: value for key, value in values.items() if key in _active(name)}
    method = methods.find(name)(student, teacher, **kept)
    other = methods.find("logit_mse" if name != "logit_mse" else "vanilla")(student, method.teacher)
    batch = Batch(images, labels, torch.arange(6), progress=0.5)
    outputs = student(images), teacher(images)
    torch.manual_seed(1)
    alone = method.losses(*outputs, batch)
    torch.manual_seed(1)
    together = Sum({name: method, "other": other}).losses(*outputs, batch)
    own = {term: loss for term, loss in together.items() if term == "ce" or term.removeprefix(f"{name}.") in alone}
    return alone, own, cross_entropy(outputs[0].logits, labels)


def _active(name: str) -> set[str]:
    configuration = defaults(methods.find(name))
    return {key for key, one in declared(methods.find(name)).items() if one.is_active(configuration)}
