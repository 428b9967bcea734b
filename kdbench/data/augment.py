"""Augmentation of whole batches, on the device where they are."""

import torch
from torch import Generator, Tensor
from torch.nn.functional import pad

from kdbench.matrix.recipe import Augmentations, Crop, Flip, Shift


def augment(images: Tensor, augmentations: Augmentations, generator: Generator) -> Tensor:
    """Images (B, C, H, W) after each augmentation in turn, each image by its own draw.

    The random numbers are drawn on the CPU, so that they are the same on every device.
    """
    for augmentation in augmentations:
        match augmentation:
            case Crop(padding=padding):
                images = _crop(images, padding, generator)
            case Flip(probability=probability):
                images = _flip(images, probability, generator)
            case Shift(pixels=pixels):
                images = _shift(images, pixels, generator)
    return images


def _crop(images: Tensor, padding: int, generator: Generator) -> Tensor:
    offsets = _offsets(images, 2 * padding + 1, generator)
    return _taken(pad(images, [padding] * 4), offsets, images.shape[2:])


def _shift(images: Tensor, pixels: int, generator: Generator) -> Tensor:
    offsets = _offsets(images, 2 * pixels + 1, generator) - pixels
    return _taken(images, offsets, images.shape[2:])


def _flip(images: Tensor, probability: float, generator: Generator) -> Tensor:
    flipped = torch.rand(len(images), generator=generator) < probability
    return torch.where(flipped.to(images.device)[:, None, None, None], images.flip(3), images)


def _offsets(images: Tensor, count: int, generator: Generator) -> Tensor:
    """A row and a column (B, 2) from 0 to count - 1 for each image."""
    return torch.randint(count, (len(images), 2), generator=generator).to(images.device)


def _taken(images: Tensor, offsets: Tensor, size: torch.Size) -> Tensor:
    """Of each image the part (C, *size) from its offset on; what lies outside repeats the border."""
    count, channels, height, width = images.shape
    device = images.device
    rows = (offsets[:, :1] + torch.arange(size[0], device=device)).clamp(0, height - 1)
    columns = (offsets[:, 1:] + torch.arange(size[1], device=device)).clamp(0, width - 1)
    return images[
        torch.arange(count, device=device)[:, None, None, None],
        torch.arange(channels, device=device)[None, :, None, None],
        rows[:, None, :, None],
        columns[:, None, None, :],
    ]
