"""A missing field raises a MethodError whenever it is used."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from kdbench.errors import MethodError
from kdbench.training.network import Output
from kdbench.training.partial_output import MissingField

USES = {
    "add": lambda field: field + torch.ones(1),
    "radd": lambda field: torch.ones(1) + field,
    "subtract from a number": lambda field: 1 - field,
    "matmul": lambda field: torch.ones(1, 1) @ field,
    "compare": lambda field: field > 0,
    "equal": lambda field: torch.ones(1) == field,
    "shape": lambda field: field.shape,
    "method": lambda field: field.sum().item(),
    "len": len,
    "bool": bool,
    "iterate": list,
    "unpack": lambda field: [*field],
    "zip": lambda field: list(zip([1], field, strict=False)),
    "index": lambda field: field[-1],
    "slice": lambda field: field[1:],
    "cat": lambda field: torch.cat([field, field]),
    "cdist": lambda field: torch.cdist(torch.ones(1, 1), field),
    "keyword argument": lambda field: F.mse_loss(torch.ones(1), target=field),
    "functional": F.normalize,
    "module": nn.Linear(1, 1),
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "format": lambda field: f"{field:.2f}",
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_every_use_raises(use):
    with pytest.raises(
        MethodError,
        match=r"^the method reads the field 'stages' of its teacher's output, but its class declares that it reads "
        r'less; set reads = "maps" in the class$',
    ):
        use(MissingField("stages", "maps"))


@pytest.mark.parametrize("convert", [Output.float, Output.detach, lambda output: output.float(maps=False)])
def test_an_output_with_missing_fields_can_be_converted(convert):
    missing = [
        MissingField(name, reads) for name, reads in (("stages", "maps"), ("preacts", "maps"), ("embedding", "x"))
    ]
    output = convert(Output(torch.ones(2, 3, requires_grad=True), *missing))
    assert torch.equal(output.logits, torch.ones(2, 3))
    for name in ("stages", "preacts", "embedding"):
        with pytest.raises(MethodError, match=f"the field '{name}'"):
            len(getattr(output, name))
