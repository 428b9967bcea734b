from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import pytest
import torch

from kdbench.data.batches import Batches, evaluation_batches
from kdbench.data.image_reader import ImageReader
from kdbench.errors import DataError
from kdbench.matrix.recipe import Augmentation, Crop, Flip, RandomErasing, Recipe, Rotate90, Translate
from kdbench.training.method import Batch

SyncOps = Callable[[], AbstractContextManager[list[str]]]
MEAN, STD = (0.4, 0.5), (0.2, 0.3)
PLAIN = Recipe(batch_size=4)
AUGMENTED = Recipe(batch_size=4, augment=(Crop(padding=2), Flip()))

IMAGES = torch.randint(256, (20, 2, 6, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(20) % 3
INDICES = np.array([19, 3, 5, 7, 0, 1, 2, 11, 12, 13, 14])


def make_batches(recipe: Recipe, seed: int = 0, views: int = 1) -> Batches:
    return Batches(IMAGES, LABELS, INDICES, mean=MEAN, std=STD, recipe=recipe, seed=seed, views=views)


def normalize(images: torch.Tensor) -> np.ndarray:
    mean, std = (np.array(values).reshape(2, 1, 1) for values in (MEAN, STD))
    return (images.numpy() / 255 - mean) / std


def equal(one: Batch, other: Batch) -> bool:
    return all(
        torch.equal(a, b)
        for a, b in zip((*one.views, one.labels, one.indices), (*other.views, other.labels, other.indices), strict=True)
    )


def test_a_batch_contains_normalized_images_with_their_labels() -> None:
    for batch in make_batches(PLAIN).epoch(0, 1):
        indices = INDICES[batch.indices.numpy()]
        np.testing.assert_allclose(batch.images, normalize(IMAGES[indices]), rtol=1e-5, atol=1e-5)
        assert batch.images.dtype == torch.float32
        assert torch.equal(batch.labels, LABELS[indices])
        assert batch.views[0] is batch.images
        assert len(batch.views) == 1


def test_batches_are_full_and_contain_an_image_at_most_once() -> None:
    batches = make_batches(PLAIN)
    found = list(batches.epoch(3, 5))
    assert batches.steps_per_epoch == len(found) == 2
    seen = torch.cat([batch.indices for batch in found]).tolist()
    assert len(set(seen)) == len(seen) == 8
    assert set(seen) <= set(range(11))


def test_every_image_is_used_in_some_epoch() -> None:
    seen = {i for epoch in range(20) for batch in make_batches(PLAIN).epoch(epoch, 20) for i in batch.indices.tolist()}
    assert seen == set(range(11))


def test_progress_goes_from_zero_to_one() -> None:
    batches = make_batches(PLAIN)
    progress = [batch.progress for epoch in range(4) for batch in batches.epoch(epoch, 4)]
    assert progress == [step / 8 for step in range(8)]
    assert {batch.share for epoch in range(4) for batch in batches.epoch(epoch, 4)} == {1 / 8}


def test_a_batch_is_a_function_of_seed_epoch_and_position() -> None:
    forward, backward = make_batches(AUGMENTED, views=2), make_batches(AUGMENTED, views=2)
    first = {epoch: list(forward.epoch(epoch, 3)) for epoch in (0, 1, 2)}
    second = {epoch: list(backward.epoch(epoch, 3)) for epoch in (2, 1, 0)}
    for epoch, batches in first.items():
        assert all(equal(one, other) for one, other in zip(batches, second[epoch], strict=True))


def test_epochs_seeds_and_views_differ() -> None:
    batches = make_batches(AUGMENTED, views=2)
    first, next_epoch = next(batches.epoch(0, 2)), next(batches.epoch(1, 2))
    other_seed = next(make_batches(AUGMENTED, seed=1).epoch(0, 2))
    assert first.indices.tolist() != next_epoch.indices.tolist()
    assert first.indices.tolist() != other_seed.indices.tolist()
    assert not torch.equal(first.views[0], first.views[1])


def test_the_first_view_and_the_order_do_not_depend_on_other_views_or_augmentations() -> None:
    one, two = next(make_batches(AUGMENTED).epoch(0, 1)), next(make_batches(AUGMENTED, views=2).epoch(0, 1))
    plain = next(make_batches(PLAIN).epoch(0, 1))
    assert torch.equal(one.images, two.images)
    assert torch.equal(one.indices, plain.indices)


def test_crop_pads_with_black_and_not_with_the_mean() -> None:
    black = torch.tensor([(0 - m) / s for m, s in zip(MEAN, STD, strict=True)])
    white = torch.full_like(IMAGES, 255)
    batches = Batches(white, LABELS, INDICES, mean=MEAN, std=STD, recipe=AUGMENTED, seed=0)
    images = torch.cat([batch.images for batch in batches.epoch(0, 1)])
    for channel in range(2):
        low, high = images[:, channel].unique().tolist()
        assert low == pytest.approx(black[channel].item())
        assert high == pytest.approx((1 - MEAN[channel]) / STD[channel])


def test_the_second_view_uses_the_strong_augmentation() -> None:
    recipe = Recipe(batch_size=4, strong_augment=(Flip(probability=1.0),))
    batch = next(make_batches(recipe, views=3).epoch(0, 1))
    assert torch.equal(batch.views[1], batch.views[0].flip(3))
    assert torch.equal(batch.views[2], batch.views[0])


def test_without_strong_augmentation_views_are_independent() -> None:
    batch = next(make_batches(Recipe(batch_size=11, augment=(Translate(pixels=1),)), views=2).epoch(0, 1))
    source = normalize(IMAGES[INDICES[batch.indices.numpy()]])
    padded = np.pad(source, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="edge")
    cuts = [padded[:, :, row : row + 6, column : column + 6] for row in range(3) for column in range(3)]
    choices = [
        [next(c for c, cut in enumerate(cuts) if np.allclose(cut[i], view[i], atol=1e-5)) for i in range(11)]
        for view in batch.views
    ]
    assert choices[0] != choices[1]


def test_fewer_images_than_a_batch_raise() -> None:
    message = r"batch_size is 12, but there are only 11 training images.* set it to 11 or less"
    with pytest.raises(DataError, match=message):
        make_batches(Recipe(batch_size=12))
    assert make_batches(Recipe(batch_size=11)).steps_per_epoch == 1


def test_evaluation_batches_contain_every_image_in_order() -> None:
    found = list(evaluation_batches(IMAGES, LABELS, MEAN, STD, size=8))
    assert [len(images) for images, _ in found] == [8, 8, 4]
    np.testing.assert_allclose(torch.cat([i for i, _ in found]), normalize(IMAGES), rtol=1e-5, atol=1e-5)
    assert torch.equal(torch.cat([labels for _, labels in found]), LABELS)


def test_evaluation_batches_of_large_images_are_smaller() -> None:
    large = torch.zeros(1, 2, 192, 256, dtype=torch.uint8).expand(300, -1, -1, -1)
    batches = evaluation_batches(large, torch.zeros(300), MEAN, STD)
    assert [len(images) for images, _ in batches] == [128, 128, 44]


@pytest.mark.parametrize("size", [6, 3])
def test_batches_of_images_that_are_read_equal_those_of_images_in_memory(size: int) -> None:
    images = ImageReader(IMAGES.numpy(), np.arange(20), torch.device("cpu"))
    recipe = AUGMENTED.model_copy(update={"batch_size": size})
    options: Any = {"mean": MEAN, "std": STD, "recipe": recipe, "seed": 1, "views": 2}
    for epoch in range(2):
        read, expected = (Batches(one, LABELS, INDICES, **options).epoch(epoch, 2) for one in (images, IMAGES))
        assert all(equal(one, other) for one, other in zip(read, expected, strict=True))


@pytest.mark.parametrize("augmentation", [Crop(padding=2), Flip(), Translate(pixels=2), Rotate90(), RandomErasing()])
def test_no_batch_synchronizes_with_a_gpu(
    augmentation: Augmentation, sync_ops: SyncOps, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`to_device_async` copies all random numbers from the CPU; the device here is "meta", which has no values."""
    for module in ("augment", "batches"):
        monkeypatch.setattr(
            f"kdbench.data.{module}.to_device_async", lambda tensor, device: torch.empty_like(tensor, device=device)
        )
    meta, recipe = torch.device("meta"), Recipe(batch_size=4, augment=(augmentation,))
    batches = Batches(IMAGES.to(meta), LABELS.to(meta), INDICES, mean=MEAN, std=STD, recipe=recipe, seed=0, views=2)
    with sync_ops() as found:
        drawn = list(batches.epoch(0, 1))
    assert found == []
    assert {t.device for batch in drawn for t in (*batch.views, batch.labels, batch.indices)} == {meta}
    assert [batch.images.shape for batch in drawn] == [(4, 2, 6, 6)] * 2
