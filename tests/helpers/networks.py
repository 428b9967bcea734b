"""Networks built without memory."""

import torch

from kdbench import models
from kdbench.training.evaluation import count_parameters


def count_parameters_at(name: str, num_classes: int) -> int:
    """Return the number of parameters of a network for images (3, 32, 32)."""
    with torch.device("meta"):
        return count_parameters(models.build(name, num_classes=num_classes, image_shape=(3, 32, 32)))
