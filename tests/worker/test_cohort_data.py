"""The images of a cohort, and batches without images."""

from dataclasses import replace

import pytest
import torch

from kdbench.errors import DataError
from kdbench.training.method import Task
from kdbench.worker.cohort_data import NoImages, batches, load_cohort_data, task_of

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def spec(plan_of):
    return plan_of({}, {"steps_per_epoch": 3, "train_samples": 120}).runs[0]


def test_the_images_are_those_of_the_split(spec):
    material = load_cohort_data(spec, CPU)
    assert material.task == task_of(spec) == Task(10, 120, (1, 8, 8), 50)
    assert material.train.images.shape == (120, 1, 8, 8)
    assert material.train.images.dtype == torch.uint8
    training, held = (material.train.images.flatten(1), material.validation.images.flatten(1))
    assert 100 < len(held) < 200
    assert len(material.test.labels) > 300
    assert len(torch.unique(torch.cat([training, held]), dim=0)) == len(training) + len(held)


def test_images_are_normalised_for_evaluation(spec):
    images = load_cohort_data(spec, CPU).validation
    found = torch.cat(list(images.batches()))
    expected = (images.images / 255 - images.mean[0]) / images.std[0]
    torch.testing.assert_close(found, expected)


def test_batches_are_full_and_of_the_training_images(spec):
    material = load_cohort_data(spec, CPU)
    found = list(batches(spec, material, views=2, opens_images=True).epoch(0, 2))
    assert [batch.images.shape for batch in found] == [(50, 1, 8, 8)] * 2
    assert [len(batch.views) for batch in found] == [2, 2]
    assert torch.equal(found[0].labels, material.train.labels[found[0].indices])


def test_a_method_without_images_gets_empty_batches_that_count_the_run(spec):
    found = batches(spec, load_cohort_data(spec, CPU), views=1, opens_images=False)
    steps = [batch for epoch in range(2) for batch in found.epoch(epoch, 2)]
    assert [batch.progress for batch in steps] == pytest.approx([i / 6 for i in range(6)])
    assert {tuple(batch.images.shape) for batch in steps} == {(0, 1, 8, 8)}
    assert {(len(batch.labels), len(batch.indices), len(batch.views)) for batch in steps} == {(0, 0, 1)}


@pytest.mark.parametrize(("samples", "expected"), [(120, 2), (50, 1)])
def test_without_steps_per_epoch_an_epoch_is_as_long_as_with_images(plan_of, samples, expected):
    spec = plan_of({}, {"train_samples": samples}).runs[0]
    found = batches(spec, load_cohort_data(spec, CPU), views=1, opens_images=False)
    assert isinstance(found, NoImages)
    assert found.steps_per_epoch == expected


@pytest.mark.parametrize("read", [lambda spec: load_cohort_data(spec, CPU), task_of])
def test_other_content_than_was_planned_with_is_refused(spec, read):
    """A run's identity holds the content: on another machine, or after a file has changed, it would be another run."""
    elsewhere = replace(spec, dataset=replace(spec.dataset, fingerprint="0123456789abcdef"))
    with pytest.raises(DataError, match=r"'digits' must have the content .* \(0123456789abcdef\), but here .* another"):
        read(elsewhere)
