"""Operations that synchronize with a GPU are found on the CPU."""

import pytest
import torch

from kdbench.testing.networks import random_batch
from kdbench.testing.sync_ops import record_sync_ops

OPERATIONS = {
    "item": (lambda t: t.sum().item(), "_local_scalar_dense"),
    "float": (lambda t: float(t[0]), "_local_scalar_dense"),
    "if": (lambda t: 1 if t.sum() > 0 else 2, "_local_scalar_dense"),
    "tolist": (torch.Tensor.tolist, "tolist"),
    "cpu": (torch.Tensor.cpu, "cpu"),
    "mask": (lambda t: t[t > 0], "index"),
    "masked_select": (lambda t: t.masked_select(t > 0), "masked_select"),
    "where": (lambda t: torch.where(t > 0), "nonzero"),
    "unique": (torch.unique, "_unique2"),
    "equal": (lambda t: torch.equal(t, t), "equal"),
    "repeat": (lambda t: t.repeat_interleave(t.long()), "repeat_interleave"),
    "scatter": (lambda t: t.scatter(0, t.long(), t), "scatter"),
    "index_put": (lambda t: t.index_put_((t.long(),), t + 1), "index_put_"),
    "gather's gradient": (lambda t: t.requires_grad_().gather(0, t.long()).sum().backward(), "scatter_add"),
    "tensor": (lambda t: torch.tensor([1.0], device=t.device), "lift_fresh"),
    "send": (lambda t: t.to("meta"), "_to_copy"),
}


@pytest.mark.parametrize(("operation", "name"), OPERATIONS.values(), ids=OPERATIONS)
def test_a_synchronizing_operation_is_found(operation, name):
    tensor = torch.arange(4.0)
    with record_sync_ops() as found:
        operation(tensor)
    assert name in found


def test_a_tensor_without_a_device_cannot_be_combined_with_the_batch():
    with torch.device("meta"), pytest.raises(RuntimeError, match="meta"):
        random_batch().labels + torch.arange(8)
