"""Which methods train the scale of their logits."""

from dataclasses import replace

import torch

from kdbench.testing.networks import random_batch


def losses(method):
    """Return the sums of the losses of the first step, late in a run."""
    torch.manual_seed(0)  # of random negatives and generated images
    step = next(iter(method.steps(replace(random_batch(method.views), progress=0.6))))
    return sum(step.losses.values()).item()


def test_a_method_is_calibrated_if_its_loss_depends_on_the_scale_of_the_logits(build, parts, teacher):
    plain, scaled = build(parts, teacher).eval(), build(parts, teacher).eval()
    for one in scaled.student.head.parameters():
        one.data.mul_(3.0)
    depends = abs(losses(plain) - losses(scaled)) > 1e-4
    assert plain.calibrated == depends
    assert plain.calibrated == ("spherical" not in parts)
