"""The device that a worker computes on."""

import torch

from kdbench.results.hardware import cpu_model


def device_name(device: torch.device) -> str:
    """Return "cpu", or the name of the GPU."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def processor_model(device: torch.device) -> str:
    """Return the model of the CPU, or of the GPU if the device is one."""
    return device_name(device) if device.type == "cuda" else cpu_model()
