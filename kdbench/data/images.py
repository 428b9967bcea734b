"""Encoded images, decoded one at a time into one array of the size that is wanted."""

import os
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

from kdbench.data.dataset import Images
from kdbench.errors import DataError

Side = Annotated[int, Ge(1), Le(4096)] | None

GREY = ("1", "L", "LA")  # modes of Pillow
DEEP = ("I", "F")  # what modes of more than 8 bits a channel begin with


@final
@dataclass(frozen=True)
class Encoded:
    """An image file or its content, and the name that an error gives it."""

    name: str
    content: Path | bytes


class Part(Sized, Iterable[Encoded], Protocol):
    """Images that train, or that test; gone through twice."""


@final
@dataclass(frozen=True)
class Form:
    """What every image of a data set becomes."""

    gray: bool
    height: int
    width: int


def decoded(parts: Sequence[Part], *, resize: Side = None, grayscale: bool = False) -> list[Images]:
    """For each part its images (N, C, H, W): C is 1 if all images of all parts are gray, or with `grayscale`; else 3.

    Large images never lie in memory together: each is made gray and resized (bilinear, antialiased) as soon as it is
    decoded.

    Raises:
        DataError: an image cannot be read, has more than 8 bits a channel, or, without `resize`, another size.
    """
    form = _form(chain.from_iterable(parts), resize, grayscale)
    return [_array(part, form) for part in parts]


def _form(images: Iterable[Encoded], resize: Side, grayscale: bool) -> Form:
    """From the images' heads alone."""
    first, gray = None, True
    for one in images:
        with _reading(one), _opened(one) as image:
            mode, size = image.mode, image.size
        first = first or (one.name, size)
        gray = gray and mode in GREY
        if mode.startswith(DEEP):
            raise DataError(f"{one.name}: it has more than 8 bits a channel (mode {mode}); convert it to 8 bits")
        if resize is None and size != first[1]:
            raise DataError(
                f"images must be of one size, but {first[0]} is {_words(first[1])} pixels and {one.name} "
                f"{_words(size)}; give the option resize, such as resize = 64"
            )
    if first is None:
        raise DataError("a data set needs images, but there is none")
    width, height = first[1] if resize is None else (resize, resize)
    return Form(gray or grayscale, height, width)


def _array(part: Part, form: Form) -> Images:
    images = room(len(part), 1 if form.gray else 3, form.height, form.width)
    for place, one in enumerate(part):
        with _reading(one), _opened(one) as image:
            plain = image.convert("L" if form.gray else "RGB")
            small = plain.resize((form.width, form.height), Image.Resampling.BILINEAR)
        images[place] = np.atleast_3d(np.asarray(small)).transpose(2, 0, 1)
    return images


def room(count: int, channels: int, height: int, width: int) -> Images:
    """An array (N, C, H, W) to be filled.

    Raises:
        DataError: this machine has less memory.
    """
    needed, there = count * channels * height * width, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > there:
        raise DataError(
            f"{count} images of {channels} x {height} x {width} need {needed / 1e9:.0f} GB decoded, and this machine "
            f"has {there / 1e9:.0f}; give a smaller resize, or fewer samples"
        )
    return np.empty((count, channels, height, width), dtype=np.uint8)


def _opened(one: Encoded) -> Image.Image:
    return Image.open(BytesIO(one.content) if isinstance(one.content, bytes) else one.content)


@contextmanager
def _reading(one: Encoded) -> Iterator[None]:
    """Names the image in an error. Decoders raise nearly anything at corrupted content, hence all exceptions."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        reason = "its format is not known" if isinstance(error, UnidentifiedImageError) else str(error)
        raise DataError(f"{one.name}: the image cannot be read ({reason}); replace it or take it out") from error


def _words(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
