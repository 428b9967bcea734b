"""Augment complete batches on their device."""

import math

import torch
from torch import Generator, Tensor
from torch.nn.functional import pad

from kdbench.data.transfer import to_device_async
from kdbench.matrix.recipe import Augmentations, Crop, Flip, RandomErasing, Rotate90, Translate

MIN_AREA, MIN_ASPECT = 0.02, 0.3  # of an erased rectangle, relative to the image: area, height / width


def augment(images: Tensor, augmentations: Augmentations, generator: Generator) -> Tensor:
    """Apply each augmentation in turn to images (B, C, H, W) in [0, 1], with independent random numbers per image.

    The random numbers are drawn on the CPU, so that they are the same for every device.
    """
    for augmentation in augmentations:
        match augmentation:
            case Crop(padding=padding):
                images = _crop(images, padding, generator)
            case Flip(probability=probability):
                images = _flip(images, probability, generator)
            case Translate(pixels=pixels):
                images = _translate(images, pixels, generator)
            case Rotate90():
                images = _rotate90(images, generator)
            case RandomErasing(probability=probability, area=area):
                images = _random_erasing(images, probability, area, generator)
    return images


def _crop(images: Tensor, padding: int, generator: Generator) -> Tensor:
    offsets = _draw_offsets(images, 2 * padding + 1, generator)
    return _cut_out(pad(images, [padding] * 4), offsets, images.shape[2:])


def _translate(images: Tensor, pixels: int, generator: Generator) -> Tensor:
    offsets = _draw_offsets(images, 2 * pixels + 1, generator) - pixels
    return _cut_out(images, offsets, images.shape[2:])


def _flip(images: Tensor, probability: float, generator: Generator) -> Tensor:
    flipped = to_device_async(torch.rand(len(images), generator=generator) < probability, images.device)
    return torch.where(flipped[:, None, None, None], images.flip(3), images)


def _rotate90(images: Tensor, generator: Generator) -> Tensor:
    turns = to_device_async(torch.randint(4, (len(images),), generator=generator), images.device)[:, None, None, None]
    half = torch.where(turns >= 2, images.flip((2, 3)), images)
    if images.shape[2] != images.shape[3]:
        return half
    return torch.where(turns % 2 == 1, half.rot90(1, (2, 3)), half).contiguous()


def _random_erasing(images: Tensor, probability: float, max_area: float, generator: Generator) -> Tensor:
    """Erase a rectangle with uniform noise in [0, 1] (random erasing, Zhong et al., AAAI 2020, arXiv:1708.04896).

    The paper draws rectangles until one fits; here every drawn rectangle fits.
    """
    chosen, share, ratio, top, left = torch.rand(5, len(images), generator=generator)
    noise = to_device_async(torch.rand(images.shape, generator=generator), images.device)
    area = MIN_AREA + share * (max_area - MIN_AREA)
    bound = -area.log().clamp(min=math.log(MIN_ASPECT))
    aspect = ((2 * ratio - 1) * bound).exp()
    rows = _interval(top, (area * aspect).sqrt(), images.shape[2])
    columns = _interval(left, (area / aspect).sqrt(), images.shape[3])
    erased = (chosen < probability)[:, None, None] & rows[:, :, None] & columns[:, None, :]
    return torch.where(to_device_async(erased, images.device)[:, None], noise, images)


def _interval(position: Tensor, share: Tensor, length: int) -> Tensor:
    """Return a mask (B, length) of an interval that covers `share` (B,) of the pixels, at a position (B,) in [0, 1)."""
    size = (share * length).round().clamp(1, length)
    start = (position * (length - size + 1)).floor()
    pixels = torch.arange(length)
    return (pixels >= start[:, None]) & (pixels < (start + size)[:, None])


def _draw_offsets(images: Tensor, count: int, generator: Generator) -> Tensor:
    """Draw a row and a column (B, 2) from 0 to count - 1 for each image."""
    return to_device_async(torch.randint(count, (len(images), 2), generator=generator), images.device)


def _cut_out(images: Tensor, offsets: Tensor, size: torch.Size) -> Tensor:
    """Cut out (C, *size) from each image at its offset; pixels outside the image repeat the border."""
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
