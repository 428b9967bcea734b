"""Run a network once for the shapes of its output, without its weights."""

import copy
from contextlib import suppress

import torch
from torch import nn
from torch.func import functional_call

from kdbench.training.threads import one_thread

IMAGES = 2  # in the batch of a dry run
MAX_PARAMETERS = 30_000_000  # of a network that runs on the CPU
MAX_PIXELS = 64 * 64


@torch.no_grad()
def run_dry(network: nn.Module, image_shape: tuple[int, int, int]) -> object:
    """Return the output of a network in eval mode for two empty images (C, H, W); the network stays as it is.

    A small network runs on the CPU with all its weights 0. Any other one, and one that raises there, runs on the meta
    device, where even a ReLU imports torch's compiler: that takes as long as the import of torch.
    """
    empty = copy.deepcopy(network).to("meta").eval()
    tensors = dict([*empty.named_parameters(), *empty.named_buffers()])
    is_small = sum(tensor.numel() for tensor in tensors.values()) <= MAX_PARAMETERS
    if is_small and image_shape[1] * image_shape[2] <= MAX_PIXELS:
        with suppress(Exception), torch.device("cpu"), one_thread():  # of tensors that are no parameters, for example
            zeros = {name: torch.zeros(tensor.shape, dtype=tensor.dtype) for name, tensor in tensors.items()}
            return functional_call(empty, zeros, torch.zeros(IMAGES, *image_shape))
    with torch.device("meta"):
        return empty(torch.empty(IMAGES, *image_shape))
