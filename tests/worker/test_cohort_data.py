"""The images of a cohort, and batches without images."""

from dataclasses import replace

import pytest
import torch

from kdbench.data.image_reader import ImageReader
from kdbench.errors import DataError
from kdbench.training.method import Task
from kdbench.worker.cohort_data import EmptyBatches, load_cohort_data, load_task, make_batches

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def spec(plan_of):
    return plan_of({}, {"steps_per_epoch": 3, "train_samples": 120}).runs[0]


def test_images_are_split(spec):
    data = load_cohort_data(spec, CPU)
    assert data.task == load_task(spec) == Task(10, 120, (1, 8, 8), 50)
    assert data.train.images.shape == (120, 1, 8, 8)
    assert data.train.images[:].dtype == torch.uint8
    training, validation = (data.train.images[:].flatten(1), data.validation.images[:].flatten(1))
    assert 100 < len(validation) < 200
    assert len(data.test.labels) > 300
    assert len(torch.unique(torch.cat([training, validation]), dim=0)) == len(training) + len(validation)


def test_images_stay_in_the_memory_map_unless_they_fit_on_a_gpu(spec, monkeypatch):
    """The device "meta", which has no values, is in the place of a GPU."""
    images = {device: load_cohort_data(spec, torch.device(device)).train.images for device in ("cpu", "meta")}
    assert {device: type(found) for device, found in images.items()} == {"cpu": ImageReader, "meta": torch.Tensor}
    assert images["meta"].shape == images["cpu"].shape
    monkeypatch.setattr("kdbench.worker.cohort_data.GPU_SHARE", 0.0)
    large = load_cohort_data(spec, torch.device("meta")).train
    assert isinstance(large.images, ImageReader)
    assert {tensor.device.type for tensor in (large.images[:], large.labels)} == {"meta"}


def test_images_are_normalized_for_evaluation(spec):
    images = load_cohort_data(spec, CPU).validation
    normalized = torch.cat(list(images.batches()))
    expected = (images.images[:] / 255 - images.mean[0]) / images.std[0]
    torch.testing.assert_close(normalized, expected)


def test_batches_are_full_and_from_the_training_split(spec):
    data = load_cohort_data(spec, CPU)
    batches = list(make_batches(spec, data, views=2, reads_images=True).epoch(0, 2))
    assert [batch.images.shape for batch in batches] == [(50, 1, 8, 8)] * 2
    assert [len(batch.views) for batch in batches] == [2, 2]
    assert torch.equal(batches[0].labels, data.train.labels[batches[0].indices])


def test_a_teacher_trains_on_other_batches_than_a_student_with_its_seed(spec):
    data = load_cohort_data(spec, CPU)
    first = {
        stream: next(make_batches(replace(spec, stream=stream), data, views=1, reads_images=True).epoch(0, 2))
        for stream in ("student", "teacher")
    }
    assert not torch.equal(first["student"].indices, first["teacher"].indices)


def test_batches_without_images_have_the_progress_of_the_run(spec):
    batches = make_batches(spec, load_cohort_data(spec, CPU), views=1, reads_images=False)
    steps = [batch for epoch in range(2) for batch in batches.epoch(epoch, 2)]
    assert [batch.progress for batch in steps] == pytest.approx([i / 6 for i in range(6)])
    assert {batch.share for batch in steps} == {1 / 6}
    assert {tuple(batch.images.shape) for batch in steps} == {(0, 1, 8, 8)}
    assert {(len(batch.labels), len(batch.indices), len(batch.views)) for batch in steps} == {(0, 0, 1)}


@pytest.mark.parametrize(("samples", "expected"), [(120, 2), (50, 1)])
def test_steps_per_epoch_default_to_those_with_images(plan_of, samples, expected):
    spec = plan_of({}, {"train_samples": samples}).runs[0]
    batches = make_batches(spec, load_cohort_data(spec, CPU), views=1, reads_images=False)
    assert isinstance(batches, EmptyBatches)
    assert batches.steps_per_epoch == expected


@pytest.mark.parametrize("read", [lambda spec: load_cohort_data(spec, CPU), load_task])
def test_a_changed_data_set_is_refused(spec, read):
    """The content is part of a run's identity; it may differ on another machine, or after a file has changed."""
    changed = replace(spec, dataset=replace(spec.dataset, fingerprint="0123456789abcdef"))
    with pytest.raises(
        DataError, match=r"'digits' has changed: its fingerprint is \w+, but .* planned with 0123456789abcdef;"
    ):
        read(changed)


def test_all_images_are_normalized_by_the_training_part_of_the_split(spec):
    """Also the images that `train_samples` leaves out count, but no validation image."""
    data = load_cohort_data(spec, CPU)
    everything = load_cohort_data(replace(spec, recipe=spec.recipe.model_copy(update={"train_samples": None})), CPU)
    pixels = everything.train.images[:].double() / 255
    for images in (data.train, data.validation, data.test):
        assert images.mean == pytest.approx((pixels.mean().item(),), rel=1e-9)
        assert images.std == pytest.approx((pixels.std(correction=0).item(),), rel=1e-9)
