import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from kdbench.data.augment import augment
from kdbench.matrix.recipe import Augmentation, Crop, Flip, RandomErasing, Rotate90, Translate
from kdbench.training.randomness import make_generator

AUGMENTATIONS: list[Augmentation] = [Crop(padding=2), Flip(), Translate(pixels=2), Rotate90(), RandomErasing()]


def make_images(count: int, channels: int = 2, height: int = 5, width: int = 4) -> torch.Tensor:
    """Return images with distinct values, none of them 0."""
    values = torch.arange(1, count * channels * height * width + 1, dtype=torch.float32)
    return values.reshape(count, channels, height, width)


def find_offsets(result: np.ndarray, padded: np.ndarray) -> list[tuple[int, int]]:
    """Return the offsets at which `result` (C, H, W) occurs in `padded` (C, H', W')."""
    height, width = result.shape[1:]
    rows, columns = padded.shape[1] - height + 1, padded.shape[2] - width + 1
    return [
        (row, column)
        for row in range(rows)
        for column in range(columns)
        if np.array_equal(padded[:, row : row + height, column : column + width], result)
    ]


def test_no_augmentation_changes_nothing() -> None:
    images = make_images(3)
    assert augment(images, (), make_generator(0)) is images


def test_flip_with_probability_1_mirrors_as_pillow_does() -> None:
    images = make_images(2, channels=1)
    flipped = augment(images, (Flip(probability=1.0),), make_generator(0))
    expected = [np.asarray(ImageOps.mirror(Image.fromarray(image[0].numpy()))) for image in images]
    assert np.array_equal(flipped[:, 0].numpy(), expected)


def test_flip_mirrors_its_share_and_keeps_the_others() -> None:
    images = make_images(2000, channels=1, height=1, width=2)
    result = augment(images, (Flip(probability=0.3),), make_generator(0))
    mirrored = (result == images.flip(3)).flatten(1).all(1)
    same = (result == images).flatten(1).all(1)
    assert (mirrored ^ same).all()
    assert abs(mirrored.float().mean().item() - 0.3) < 0.04


@pytest.mark.parametrize(("augmentation", "mode"), [(Crop(padding=2), "constant"), (Translate(pixels=2), "edge")])
def test_crop_and_translate_cut_out_of_the_padded_image(augmentation: Augmentation, mode: str) -> None:
    images = make_images(400)
    results = augment(images, (augmentation,), make_generator(0)).numpy()
    padded = np.pad(images.numpy(), ((0, 0), (0, 0), (2, 2), (2, 2)), mode=mode)  # type: ignore[call-overload]
    found = [find_offsets(result, image) for result, image in zip(results, padded, strict=True)]
    assert all(len(offsets) == 1 for offsets in found)
    assert {offsets[0] for offsets in found} == {(row, column) for row in range(5) for column in range(5)}


def test_crop_pads_with_black_and_translate_repeats_the_border() -> None:
    white = torch.ones(200, 1, 3, 3)
    assert set(augment(white, (Crop(padding=3),), make_generator(0)).unique().tolist()) == {0.0, 1.0}
    assert torch.equal(augment(white, (Translate(pixels=5),), make_generator(0)), white)


@given(
    chosen=st.lists(st.sampled_from(AUGMENTATIONS), max_size=3),
    count=st.integers(1, 5),
    height=st.integers(1, 6),
    width=st.integers(1, 6),
    seed=st.integers(0, 99),
)
def test_shape_and_type_stay_the_same_and_the_generator_determines_the_result(
    chosen: list[Augmentation], count: int, height: int, width: int, seed: int
) -> None:
    images = make_images(count, 3, height, width)
    before = images.clone()
    result = augment(images, tuple(chosen), make_generator(seed))
    assert result.shape == images.shape
    assert result.dtype == torch.float32
    assert result.is_contiguous()
    assert torch.equal(result, augment(images, tuple(chosen), make_generator(seed)))
    assert torch.equal(images, before)


@pytest.mark.parametrize(("width", "turns"), [(5, [0, 1, 2, 3]), (4, [0, 2])])
def test_rotate90_is_uniform_and_uses_half_turns_if_images_are_not_square(width: int, turns: list[int]) -> None:
    images = make_images(2000, channels=2, height=5, width=width)
    results = augment(images, (Rotate90(),), make_generator(0)).numpy()
    matches = np.array([(np.rot90(images.numpy(), turn, (2, 3)) == results).all(axis=(1, 2, 3)) for turn in turns])
    assert (matches.sum(axis=0) == 1).all()
    assert np.abs(matches.mean(axis=1) - 1 / len(turns)).max() < 0.04


def test_random_erasing_fills_a_rectangle_with_noise_within_its_bounds() -> None:
    images = torch.full((2000, 3, 20, 30), 2.0)
    erased = augment(images, (RandomErasing(probability=0.5, area=0.3),), make_generator(0))
    changed = (erased != 2).numpy()
    is_erased = changed.any(axis=(1, 2, 3))
    assert abs(is_erased.mean() - 0.5) < 0.04
    rows, columns = changed.any(axis=(1, 3))[is_erased], changed.any(axis=(1, 2))[is_erased]
    assert np.array_equal(
        changed[is_erased],
        np.broadcast_to((rows[:, :, None] & columns[:, None])[:, None], (is_erased.sum(), 3, 20, 30)),
    )
    for lines in (rows, columns):
        assert (np.abs(np.diff(lines.astype(int), prepend=0, append=0, axis=1)).sum(axis=1) == 2).all()
    heights, widths = rows.sum(axis=1) / 20, columns.sum(axis=1) / 30
    assert (heights * widths).min() > 0.01
    assert 0.28 < (heights * widths).max() < 0.34
    assert 0.2 < (heights / widths).min() < 0.4
    values = erased.numpy()[changed]
    assert values.min() >= 0
    assert values.max() < 1
    assert abs(values.mean() - 0.5) < 0.01


def test_augmentations_are_applied_in_order() -> None:
    images, generator = make_images(50), make_generator(0)
    together = augment(images, (Crop(padding=1), Flip()), make_generator(0))
    one_by_one = augment(augment(images, (Crop(padding=1),), generator), (Flip(),), generator)
    assert torch.equal(together, one_by_one)
    assert not torch.equal(together, images)
