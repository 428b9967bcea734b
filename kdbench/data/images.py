"""Decode encoded images, one at a time, into one array of their final size."""

import math
from collections.abc import Iterable, Iterator, Sequence, Sized
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import Annotated, Protocol, final

import numpy as np
from annotated_types import Ge, Le
from PIL import Image, UnidentifiedImageError

from kdbench.data.cache import cache_folder, free_cache_space, temporary_array
from kdbench.data.dataset import Images
from kdbench.errors import DataError

Side = Annotated[int, Ge(1), Le(4096)] | None  # height and width in pixels

IN_MEMORY = 2**30  # bytes of an array that is decoded in memory

GRAY_MODES = ("1", "L", "LA")  # of Pillow
DEEP_MODES = ("I", "F")  # prefixes of Pillow's modes with more than 8 bits per channel


@final
@dataclass(frozen=True)
class EncodedImage:
    """The path or the bytes of an image, and its name in errors."""

    name: str
    content: Path | bytes


class EncodedImages(Sized, Iterable[EncodedImage], Protocol):
    """The encoded training or test images; iterated twice."""


@final
@dataclass(frozen=True)
class _Format:
    is_gray: bool
    height: int
    width: int


def decode(parts: Sequence[EncodedImages], *, resize: Side = None, grayscale: bool = False) -> list[Images]:
    """Decode each part to an array (N, C, H, W).

    C is 1 with `grayscale` or if all images of all parts are gray, else 3. Each image is converted and resized
    (bilinear, antialiased) right after it is decoded, so that large images are never in memory together.

    Raises:
        DataError: an image cannot be read, has more than 8 bits per channel, or, without `resize`, another size.
    """
    target = _find_format(chain.from_iterable(parts), resize, grayscale)
    return [_decode_part(part, target) for part in parts]


def allocate(count: int, channels: int, height: int, width: int) -> Images:
    """Return an uninitialized array (count, channels, height, width); a large one is in a temporary file.

    Raises:
        DataError: the cache folder has too little free space for the temporary file and the cached data set.
    """
    shape = count, channels, height, width
    needed = math.prod(shape)
    if needed <= IN_MEMORY:
        return np.empty(shape, dtype=np.uint8)
    folder, free = cache_folder(), free_cache_space()
    if 2 * needed > free:
        raise DataError(
            f"{count} images of {channels} x {height} x {width} need {needed / 1e9:.0f} GB decoded, and twice as much "
            f"while they are decoded, but {folder} has {free / 1e9:.0f} GB free; set a smaller resize or fewer "
            "samples, or set KDBENCH_CACHE to a folder on a larger disk"
        )
    return temporary_array(shape)


def _find_format(images: Iterable[EncodedImage], resize: Side, grayscale: bool) -> _Format:
    """Find the common format from the headers of all images."""
    first, is_gray = None, True
    for encoded in images:
        with _name_in_errors(encoded), _open(encoded) as image:
            mode, size = image.mode, image.size
        first = first or (encoded.name, size)
        is_gray = is_gray and mode in GRAY_MODES
        if mode.startswith(DEEP_MODES):
            raise DataError(f"{encoded.name}: more than 8 bits per channel (mode {mode}); convert the image to 8 bits")
        if resize is None and size != first[1]:
            raise DataError(
                f"images must have equal size, but {first[0]} has {first[1][0]}x{first[1][1]} pixels and "
                f"{encoded.name} {size[0]}x{size[1]}; set the option resize, such as resize = 64"
            )
    if first is None:
        raise DataError("a data set must contain images, but none was found")
    width, height = first[1] if resize is None else (resize, resize)
    return _Format(is_gray or grayscale, height, width)


def _decode_part(part: EncodedImages, target: _Format) -> Images:
    images = allocate(len(part), 1 if target.is_gray else 3, target.height, target.width)
    for index, encoded in enumerate(part):
        with _name_in_errors(encoded), _open(encoded) as image:
            converted = image.convert("L" if target.is_gray else "RGB")
            resized = converted.resize((target.width, target.height), Image.Resampling.BILINEAR)
        images[index] = np.atleast_3d(np.asarray(resized)).transpose(2, 0, 1)
    return images


def _open(encoded: EncodedImage) -> Image.Image:
    return Image.open(BytesIO(encoded.content) if isinstance(encoded.content, bytes) else encoded.content)


@contextmanager
def _name_in_errors(encoded: EncodedImage) -> Iterator[None]:
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:  # decoders raise various exceptions for corrupted content
        reason = "unknown image format" if isinstance(error, UnidentifiedImageError) else str(error)
        raise DataError(f"{encoded.name}: the image cannot be read ({reason}); replace or remove it") from error
