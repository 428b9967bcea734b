import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kdbench.data.images import Encoded, decoded
from kdbench.data.prepare import gray, resized
from kdbench.errors import DataError

Draw = Callable[..., Path]


def encoded(*files: Path) -> list[Encoded]:
    return [Encoded(str(file), file) for file in files]


def noise(path: Path, height: int, width: int, seed: int = 0) -> np.ndarray:
    """Writes an image without loss; its pixels (3, H, W)."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return pixels.transpose(2, 0, 1)


def test_pixels_and_order_are_kept_from_files_and_from_bytes(tmp_path: Path) -> None:
    files = [tmp_path / f"{seed}.png" for seed in range(3)]
    expected = [noise(file, 5, 4, seed) for seed, file in enumerate(files)]
    contents = [Encoded("content", file.read_bytes()) for file in files]
    train, test = decoded([encoded(*files), contents[1:]])
    assert train.dtype == np.uint8
    assert np.array_equal(train, expected)
    assert np.array_equal(test, expected[1:])


@pytest.mark.parametrize("grayscale", [False, True])
def test_shrinking_while_decoding_is_shrinking_afterwards(tmp_path: Path, grayscale: bool) -> None:
    pixels = noise(tmp_path / "large.png", 50, 30)[None]
    (small,) = decoded([encoded(tmp_path / "large.png")], resize=7, grayscale=grayscale)
    assert np.array_equal(small, resized(gray(pixels) if grayscale else pixels, 7))


def test_gray_stays_gray_unless_any_image_of_any_part_has_colors(draw: Draw) -> None:
    gray_one, black, color = draw("g.png", 9, mode="L"), draw("1.png", 1, mode="1"), draw("c.png", (1, 2, 3))
    (images,) = decoded([encoded(gray_one, black)])
    assert images[:, :, 0, 0].tolist() == [[9], [255]]
    train, test = decoded([encoded(gray_one), encoded(color)])
    assert (train[0, :, 0, 0].tolist(), test[0, :, 0, 0].tolist()) == ([9, 9, 9], [1, 2, 3])


def test_palettes_and_transparency_become_plain_colors(draw: Draw) -> None:
    palette = draw("p.png", (200, 0, 0))
    Image.open(palette).quantize(2).save(palette)
    (images,) = decoded([encoded(palette, draw("a.png", (1, 2, 3, 4), mode="RGBA"))])
    assert images[:, :, 0, 0].tolist() == [[200, 0, 0], [1, 2, 3]]


def test_other_sizes_need_resize(draw: Draw) -> None:
    both = encoded(draw("a.png"), draw("b.png", size=(4, 5)))
    with pytest.raises(DataError, match=r"a\.png is 4x3 pixels and .*b\.png 4x5; give the option resize"):
        decoded([both[:1], both[1:]])
    assert [part.shape for part in decoded([both[:1], both[1:]], resize=6)] == [(1, 3, 6, 6)] * 2


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
def test_a_corrupted_image_is_named(tmp_path: Path, corrupt: Callable[[Path], None], suffix: str) -> None:
    good, bad = tmp_path / "good.png", tmp_path / f"bad.{suffix}"
    noise(good, 16, 16)
    noise(bad, 16, 16)
    corrupt(bad)
    with pytest.raises(DataError, match=re.escape(f"{bad}: the image cannot be read (")):
        decoded([encoded(good, bad)])


def test_more_than_eight_bits_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.full((4, 4), 40_000, dtype=np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(DataError, match=r"deep\.png: it has more than 8 bits a channel"):
        decoded([encoded(tmp_path / "deep.png")])


def test_no_image_is_no_data_set() -> None:
    with pytest.raises(DataError, match="there is none"):
        decoded([[], []])
