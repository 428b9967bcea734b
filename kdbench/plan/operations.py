"""About how many operations a network takes for an image: known before anything was measured."""

from collections import Counter

from torch import Tensor, nn

from kdbench.training.dry_run import IMAGES, run_dry
from kdbench.training.network import Output


def count_operations(network: nn.Module) -> float:
    """Return the operations of the convolutions and linear layers for one image (a multiply-add counts as two).

    Args:
        network: a network with the attribute `image_shape` (C, H, W), on any device.
    """
    totals: Counter[str] = Counter()  # by the type of the device, since a dry run may start again on another one

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        weight = module.weight
        assert isinstance(weight, Tensor)
        # each output value takes a multiply-add per weight of its channel
        totals[output.device.type] += 2 * output.numel() * (weight.numel() // weight.shape[0])

    layers = [module for module in network.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    try:
        output = run_dry(network, getattr(network, "image_shape", (1, 1, 1)))
    finally:
        for hook in hooks:
            hook.remove()
    assert isinstance(output, Output)
    return totals[output.logits.device.type] / IMAGES
