"""What the first job of a process would wait for."""

import gc

import pyarrow as pa
import torch
from torch import nn

from kdbench.matrix.recipe import Sgd
from kdbench.training.optimizer import make_optimizer


def warm_up(device: torch.device) -> None:
    """Create the context of a GPU, and import what torch and pyarrow import at their first use.

    Everything that is imported by then stays, so the garbage collector leaves it out: a collection of all of it takes
    as long as the first epochs of a small network.
    """
    weight = nn.Parameter(torch.zeros(1, device=device))
    weight.grad = torch.zeros_like(weight)
    make_optimizer(Sgd(), [weight]).step()  # on a GPU it imports torch's compiler
    pa.array([0])  # imports pandas
    gc.freeze()
