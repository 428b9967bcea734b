import copy
from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision import models as torchvision_models

from kdbench import models
from kdbench.errors import NetworkError
from kdbench.matrix import NetworkSpec
from kdbench.training.method import Task
from kdbench.training.network import shapes
from kdbench.training.randomness import seeded


def stages(name: str, side: int) -> list[tuple[int, ...]]:
    with torch.device("meta"):
        return list(shapes(models.build(f"torchvision:{name}", num_classes=7, image_shape=(3, side, side))).stages)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("resnet18", [(64, 112), (64, 56), (128, 28), (256, 14), (512, 7)]),
        ("vgg11", [(64, 224), (128, 112), (256, 56), (512, 28), (512, 14)]),
        ("mobilenet_v3_small", [(16, 112), (16, 56), (24, 28), (48, 14), (576, 7)]),
        ("squeezenet1_1", [(64, 111), (128, 55), (256, 27), (512, 13)]),
        ("inception_v3", [(64, 109), (192, 52), (288, 25), (768, 12), (2048, 5)]),
        ("regnet_x_400mf", [(32, 112), (32, 56), (64, 28), (160, 14), (400, 7)]),
        ("vit_b_32", []),
        ("swin_t", []),
    ],
)
def test_the_stages_are_the_last_maps_before_each_reduction(name: str, expected: list[tuple[int, int]]) -> None:
    assert stages(name, 224) == [(width, side, side) for width, side in expected]


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "squeezenet1_1"])
def test_the_logits_are_torchvisions(name: str) -> None:
    images = torch.randn(2, 3, 64, 64)
    network = models.build(f"torchvision:{name}", num_classes=5, image_shape=(3, 64, 64)).eval()
    plain = torchvision_models.get_model(name, weights=None, num_classes=5).eval()
    plain.load_state_dict(network.body.state_dict())
    assert torch.equal(network(images).logits, plain(images))


def test_the_embedding_is_the_input_of_the_classifier() -> None:
    network = models.build("torchvision:resnet18", num_classes=5, image_shape=(3, 32, 32)).eval()
    output = network(torch.randn(2, 3, 32, 32))
    torch.testing.assert_close(output.embedding, output.stages[-1].mean(dim=(2, 3)))
    torch.testing.assert_close(output.logits, network.body.fc(output.embedding))


@pytest.mark.parametrize(
    ("name", "side"),
    [("torchvision:mobilenet_v3_small", 64), ("torchvision:squeezenet1_1", 64), ("torchvision:inception_v3", 96)],
)
def test_the_embedding_is_read_before_the_last_dropout(name: str, side: int) -> None:
    torch.manual_seed(0)
    network, images = models.build(name, num_classes=10, image_shape=(3, side, side)), torch.randn(4, 3, side, side)
    for module in network.modules():
        module.training = isinstance(module, torch.nn.Dropout)  # dropout alone is random
    first, second = network(images), network(images)
    assert torch.equal(first.embedding, second.embedding)
    assert not torch.equal(first.logits, second.logits)


def test_a_classifier_that_is_a_convolution_gives_an_embedding_of_its_channels() -> None:
    network = models.build("torchvision:squeezenet1_1", num_classes=5, image_shape=(3, 64, 64)).eval()
    output = network(torch.randn(2, 3, 64, 64))
    torch.testing.assert_close(output.embedding, output.stages[-1].mean(dim=(2, 3)))


@pytest.mark.parametrize("name", ["resnet18", "vgg11_bn", "densenet121", "mnasnet0_5"])
def test_gray_images_get_a_first_convolution_of_one_channel(name: str) -> None:
    with torch.device("meta"):
        network = models.build(f"torchvision:{name}", num_classes=5, image_shape=(1, 32, 32))
        plain = torchvision_models.get_model(name, weights=None, num_classes=5)
    ours, theirs = (next(m for m in n.modules() if isinstance(m, nn.Conv2d)) for n in (network, plain))
    assert ours.weight.shape == (theirs.weight.shape[0], 1, *theirs.weight.shape[2:])
    assert (ours.stride, ours.padding, ours.bias is None) == (theirs.stride, theirs.padding, theirs.bias is None)


def test_auxiliary_classifiers_are_left_out_in_training() -> None:
    network = models.build("torchvision:googlenet", num_classes=5, image_shape=(3, 64, 64)).train()
    output = network(torch.randn(2, 3, 64, 64))
    assert output.logits.shape == (2, 5)
    assert [name for name, _ in network.named_parameters() if "aux" in name] == []


def test_copies_share_nothing_and_hooks_are_removed() -> None:
    network = models.build("torchvision:shufflenet_v2_x0_5", num_classes=5, image_shape=(3, 32, 32)).train()
    twin, images = copy.deepcopy(network), torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.zero_()
    output = network(images)
    output.logits.square().sum().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None] == []
    assert twin(images).logits.abs().sum() == 0
    assert output.stages[0].abs().sum() > 0
    assert not any(module._forward_hooks for module in network.modules())


@pytest.mark.parametrize(
    ("name", "shape", "reason"),
    [
        ("vit_b_16", (3, 32, 16), "its images must be square"),
        ("vit_b_16", (3, 30, 30), "divisible"),
        ("alexnet", (3, 32, 32), "too small"),
    ],
)
def test_an_image_shape_that_does_not_fit_raises_with_the_reason(
    name: str, shape: tuple[int, int, int], reason: str
) -> None:
    with torch.device("meta"), pytest.raises(NetworkError, match=f"'torchvision:{name}' cannot be built .*{reason}"):
        models.build(f"torchvision:{name}", num_classes=5, image_shape=shape)


def test_a_vision_transformer_is_built_for_the_image_size() -> None:
    with torch.device("meta"):
        found = shapes(models.build("torchvision:vit_b_16", num_classes=5, image_shape=(1, 32, 32)))
    assert (found.stages, found.embedding, found.num_classes) == ((), 768, 5)
    assert not found.preacts
    assert not found.cuttable


class FakeDownload:
    """Replace a download of torchvision: return weights with 1000 classes, or raise."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.urls: list[str] = []
        self.weights_only: list[bool] = []
        with torch.random.fork_rng():
            torch.manual_seed(5)
            self.state = torchvision_models.get_model("resnet18").state_dict()

    def __call__(self, url: str, **options: object) -> dict[str, torch.Tensor]:
        self.urls.append(url)
        self.weights_only.append(bool(options.get("weights_only")))
        if self.error is not None:
            raise self.error
        return self.state


RESNET18 = NetworkSpec("big", architecture="torchvision:resnet18", pretrained=True)


@pytest.mark.parametrize(("classes", "is_kept"), [(1000, True), (7, False)])
def test_pretrained_weights_are_torchvisions_and_a_different_classifier_is_new(
    monkeypatch: pytest.MonkeyPatch, classes: int, is_kept: bool
) -> None:
    download = FakeDownload()
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", download)
    with seeded(3):
        network = models.build_with_weights(RESNET18, Task(classes, 100, (3, 32, 32), 10))
    with seeded(3):
        fresh = models.build("torchvision:resnet18", num_classes=classes, image_shape=(3, 32, 32))
    state = {key.removeprefix("body."): value for key, value in network.state_dict().items()}
    wrong = [key for key, value in state.items() if not key.startswith("fc.") and not value.equal(download.state[key])]
    assert wrong == []
    expected = download.state["fc.weight"] if is_kept else fresh.state_dict()["body.fc.weight"]
    assert torch.equal(state["fc.weight"], expected)
    assert set(download.urls) == {models.resolve_weights(RESNET18).start}
    assert download.weights_only[0], "the file was first loaded in a way that can run code"


def test_without_internet_the_error_names_the_file_and_its_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", FakeDownload(OSError("no route to host")))
    with pytest.raises(NetworkError) as caught:
        models.build_with_weights(RESNET18, Task(7, 100, (3, 32, 32), 10))
    where = tmp_path / "hub" / "checkpoints"
    assert f"cannot be downloaded: no route to host; copy the file resnet18-f37072fd.pth into {where}" in str(
        caught.value
    )


@pytest.mark.parametrize(
    ("name", "image_shape", "message"),
    [
        ("resnet18", (1, 32, 32), "pretrained weights require images with 3 channels, got 1"),
        ("vit_b_16", (3, 32, 32), r"pretrained weights require images \(H, W\) of \(224, 224\), got \(32, 32\)"),
    ],
)
def test_images_that_do_not_fit_the_weights_raise(name: str, image_shape: tuple[int, int, int], message: str) -> None:
    spec = NetworkSpec("big", architecture=f"torchvision:{name}", pretrained=True)
    with torch.device("meta"):
        network = models.build_from_spec(spec, Task(7, 100, image_shape, 10))
    with pytest.raises(NetworkError, match=message):
        models.check_weights(spec, network, Task(7, 100, image_shape, 10), is_trained=True)


def test_weights_with_auxiliary_classifiers_raise() -> None:
    with pytest.raises(NetworkError, match="include auxiliary classifiers"):
        models.resolve_weights(NetworkSpec("big", architecture="torchvision:googlenet", pretrained=True))


def test_a_new_classifier_must_train() -> None:
    task = Task(7, 100, (3, 32, 32), 10)
    with torch.device("meta"):
        network = models.build_from_spec(RESNET18, task)
    models.check_weights(RESNET18, network, task, is_trained=True)
    with pytest.raises(NetworkError, match="have 1000 classes and the data 7, so its classifier is re-initialized"):
        models.check_weights(RESNET18, network, task, is_trained=False)
