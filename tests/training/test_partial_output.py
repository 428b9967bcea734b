"""What was not kept cannot be taken for something."""

import pytest
import torch

from kdbench.errors import MethodError
from kdbench.training.network import Output
from kdbench.training.partial_output import UnkeptMaps, unkept_tensor

USES = {
    "add": lambda t: t + torch.ones(1),
    "be added": lambda t: torch.ones(1) + t,
    "matmul": lambda t: torch.ones(1, 1) @ t,
    "shape": lambda t: t.shape,
    "len": len,
    "take": lambda t: t[0],
    "cat": lambda t: torch.cat([t, t]),
    "cdist": lambda t: torch.cdist(torch.ones(1, 1), t),
    "item": lambda t: t.sum().item(),
}


@pytest.mark.parametrize("use", USES)
def test_whatever_one_does_with_the_tensor_is_refused(use):
    with pytest.raises(MethodError, match=r'reads = "embedding"'):
        USES[use](unkept_tensor())


@pytest.mark.parametrize(
    "use",
    [len, list, lambda m: m[-1], lambda m: m[1:], lambda m: [*m], lambda m: list(zip([1], m, strict=False)), bool],
)
def test_maps_cannot_be_counted_taken_or_gone_through(use):
    with pytest.raises(MethodError, match=r'reads = "maps"'):
        use(UnkeptMaps())


def test_in_float32_the_logits_are_there_and_the_rest_is_still_refused():
    maps = UnkeptMaps()
    output = Output(torch.ones(2, 3, dtype=torch.bfloat16), maps, maps, unkept_tensor()).float(maps=False)
    assert torch.equal(output.logits, torch.ones(2, 3))
    with pytest.raises(MethodError, match="nothing else was kept"):
        output.embedding.sum()
    for maps in (output.stages, output.preacts):
        with pytest.raises(MethodError, match="none were kept"):
            maps[0]
