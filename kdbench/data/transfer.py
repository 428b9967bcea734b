"""Copies of tensors from the CPU to a device."""

import torch
from torch import Tensor


def to_device_async(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a tensor of the CPU on `device`, without synchronizing with a GPU.

    The copy uses pinned memory: a copy from pageable memory would block until the GPU has finished all queued work.
    """
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)
