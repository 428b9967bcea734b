import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kdbench.data.images import EncodedImage, decode
from kdbench.data.prepare import resize_images, to_gray
from kdbench.errors import DataError

WriteImage = Callable[..., Path]


def encoded(*files: Path) -> list[EncodedImage]:
    return [EncodedImage(str(file), file) for file in files]


def noise(path: Path, height: int, width: int, seed: int = 0) -> np.ndarray:
    """Write a lossless image of noise and return its pixels (3, H, W)."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return pixels.transpose(2, 0, 1)


def test_files_and_bytes_are_decoded_in_order(tmp_path: Path) -> None:
    files = [tmp_path / f"{seed}.png" for seed in range(3)]
    expected = [noise(file, 5, 4, seed) for seed, file in enumerate(files)]
    contents = [EncodedImage("content", file.read_bytes()) for file in files]
    train, test = decode([encoded(*files), contents[1:]])
    assert train.dtype == np.uint8
    assert np.array_equal(train, expected)
    assert np.array_equal(test, expected[1:])


@pytest.mark.parametrize("grayscale", [False, True])
def test_resizing_during_decoding_equals_resizing_afterwards(tmp_path: Path, grayscale: bool) -> None:
    pixels = noise(tmp_path / "large.png", 50, 30)[None]
    (small,) = decode([encoded(tmp_path / "large.png")], resize=7, grayscale=grayscale)
    assert np.array_equal(small, resize_images(to_gray(pixels) if grayscale else pixels, 7))


def test_a_large_set_is_decoded_into_a_file_that_vanishes(
    tmp_path: Path, cache_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = noise(tmp_path / "image.png", 5, 4)
    monkeypatch.setattr("kdbench.data.images.IN_MEMORY", expected.nbytes - 1)
    (images,) = decode([encoded(tmp_path / "image.png")])
    assert isinstance(images, np.memmap)
    assert np.array_equal(images[0], expected)
    assert list(cache_folder.iterdir()) == []


def test_images_stay_gray_unless_one_of_any_part_has_colors(write_image: WriteImage) -> None:
    gray_one, black, color = (
        write_image("g.png", 9, mode="L"),
        write_image("1.png", 1, mode="1"),
        write_image("c.png", (1, 2, 3)),
    )
    (images,) = decode([encoded(gray_one, black)])
    assert images[:, :, 0, 0].tolist() == [[9], [255]]
    train, test = decode([encoded(gray_one), encoded(color)])
    assert (train[0, :, 0, 0].tolist(), test[0, :, 0, 0].tolist()) == ([9, 9, 9], [1, 2, 3])


def test_palettes_and_transparency_are_converted_to_rgb(write_image: WriteImage) -> None:
    palette = write_image("p.png", (200, 0, 0))
    Image.open(palette).quantize(2).save(palette)
    (images,) = decode([encoded(palette, write_image("a.png", (1, 2, 3, 4), mode="RGBA"))])
    assert images[:, :, 0, 0].tolist() == [[200, 0, 0], [1, 2, 3]]


def test_different_sizes_raise_without_resize(write_image: WriteImage) -> None:
    both = encoded(write_image("a.png"), write_image("b.png", size=(4, 5)))
    with pytest.raises(DataError, match=r"a\.png has 4x3 pixels and .*b\.png 4x5; set the option resize"):
        decode([both[:1], both[1:]])
    assert [part.shape for part in decode([both[:1], both[1:]], resize=6)] == [(1, 3, 6, 6)] * 2


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def overwritten(path: Path) -> None:
    path.write_text("<html>404</html>")


def removed(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("corrupt", [truncated, emptied, overwritten, removed])
@pytest.mark.parametrize("suffix", ["png", "jpg", "tif"])
def test_a_corrupted_image_raises_with_its_path(tmp_path: Path, corrupt: Callable[[Path], None], suffix: str) -> None:
    good, bad = tmp_path / "good.png", tmp_path / f"bad.{suffix}"
    noise(good, 16, 16)
    noise(bad, 16, 16)
    corrupt(bad)
    with pytest.raises(DataError, match=re.escape(f"{bad}: the image cannot be read (")):
        decode([encoded(good, bad)])


def test_more_than_eight_bits_raise(tmp_path: Path) -> None:
    Image.fromarray(np.full((4, 4), 40_000, dtype=np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(DataError, match=r"deep\.png: more than 8 bits per channel"):
        decode([encoded(tmp_path / "deep.png")])


def test_a_data_set_without_images_raises() -> None:
    with pytest.raises(DataError, match="must contain images, but none was found"):
        decode([[], []])
