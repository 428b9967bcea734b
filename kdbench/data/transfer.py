"""Tensors on their way from the processor to a device."""

import torch
from torch import Tensor


def to_device_async(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the processor's on a device, where it is needed; on the processor it stays as it is.

    To a GPU it goes from pinned memory: a copy from any other waits until the GPU has done all that is queued.
    """
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)
