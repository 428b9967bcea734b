"""Custom networks in an importable module."""

from pathlib import Path

import pytest

SOURCE = """
import torch
from kdbench.training.network import Output


class Linear(torch.nn.Module):
    def __init__(self, num_classes, image_shape, scale=1.0):
        super().__init__()
        self.layer = torch.nn.Linear(image_shape[0] * image_shape[1] * image_shape[2], num_classes)
        self.scale = scale

    def forward(self, images):
        embedding = self.scale * images.flatten(1)
        return Output(self.layer(embedding), (), (), embedding)


def extra_logit(*, num_classes, image_shape):
    return Linear(num_classes + 1, image_shape)


def bare(*, num_classes, image_shape):
    return torch.nn.Flatten()


def nothing(*, num_classes, image_shape):
    return None


number = 3
"""


@pytest.fixture
def custom_networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write the module `custom_networks` and return its file."""
    file = tmp_path / "custom_networks.py"
    file.write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    return file
