"""The counter of operations equals torch's."""

import sys

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from kdbench import models
from kdbench.training.flops import FlopCounter, make_flop_counter


class Attention(nn.Module):
    """Operators that torch decomposes, or that are no layers."""

    def __init__(self):
        super().__init__()
        self.project = nn.Linear(8, 24)
        self.mix = nn.MultiheadAttention(8, 2, batch_first=True)
        self.up = nn.ConvTranspose2d(3, 8, 2, stride=2)

    def forward(self, images):
        tokens = self.up(images).flatten(2).transpose(1, 2)
        q, k, v = self.project(tokens).chunk(3, dim=2)
        mixed, _ = self.mix(tokens, tokens, tokens)
        return torch.einsum("bnd,bmd->bnm", F.scaled_dot_product_attention(q, k, v), mixed) @ (q.matmul(k.mT) @ v)


NAMES = ["mlp_16_8", "cnn_4_8_fc6", "resnet8", "wrn_10_1", "mobilenetv2_half", "shufflenetv1", "shufflenetv2"]


@pytest.mark.parametrize("name", ["attention", *NAMES])
def test_it_counts_what_torch_counts(name):
    network = Attention() if name == "attention" else models.build(name, num_classes=5, image_shape=(3, 8, 8))
    images, totals = torch.zeros(1, 3, 8, 8), []
    for counter in (FlopCounter(), FlopCounterMode(display=False)):
        with torch.no_grad(), counter:
            network.eval()(images)
        totals.append(counter.get_total_flops())
    assert totals[0] == totals[1] > 0


def test_where_the_compiler_is_imported_torch_counts(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch._dynamo", torch)
    assert isinstance(make_flop_counter(), FlopCounterMode)
    monkeypatch.delitem(sys.modules, "torch._dynamo")
    assert isinstance(make_flop_counter(), FlopCounter)
