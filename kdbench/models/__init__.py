"""The networks: one family, one file. `FAMILIES` is the table of contents."""

from kdbench.models import (
    cnn,
    cnn_pair,
    from_timm,
    from_torchvision,
    mlp,
    mobilenet_v2,
    resnet,
    resnet_cifar,
    shufflenet_v1,
    shufflenet_v2,
    vgg,
    wide_resnet,
)
from kdbench.models.build import (
    build,
    build_from_spec,
    build_with_weights,
    check,
    check_weights,
    resolve_weights,
    source_hash,
)
from kdbench.models.family import Family

__all__ = [
    "FAMILIES",
    "Family",
    "build",
    "build_from_spec",
    "build_with_weights",
    "check",
    "check_weights",
    "resolve_weights",
    "source_hash",
]

FAMILIES: tuple[Family, ...] = (
    mlp.FAMILY,
    cnn_pair.FAMILY,
    cnn.FAMILY,
    resnet.FAMILY,
    resnet_cifar.FAMILY,
    wide_resnet.FAMILY,
    vgg.FAMILY,
    mobilenet_v2.FAMILY,
    shufflenet_v1.FAMILY,
    shufflenet_v2.FAMILY,
    from_timm.FAMILY,
    from_torchvision.FAMILY,
)
