"""About how many operations a network takes for an image: known before anything was measured."""

import torch
from torch import Tensor, nn


@torch.no_grad()
def count_operations(network: nn.Module) -> float:
    """Return the operations of the convolutions and linear layers for one image (a multiply-add counts as two).

    Args:
        network: a network on the meta device, with the attribute `image_shape` (C, H, W).
    """
    total, shape = 0.0, getattr(network, "image_shape", ())

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        weight = module.weight
        assert isinstance(weight, Tensor)
        # each output value takes a multiply-add per weight of its channel
        total += 2.0 * output.numel() * weight.numel() / weight.shape[0]

    layers = [module for module in network.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    was_training = network.training
    try:
        network.eval()(torch.empty(1, *shape, device="meta"))
    finally:
        network.train(was_training)
        for hook in hooks:
            hook.remove()
    return total
