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


def test_the_embedding_is_what_the_classifier_sees() -> None:
    network = models.build("torchvision:resnet18", num_classes=5, image_shape=(3, 32, 32)).eval()
    output = network(torch.randn(2, 3, 32, 32))
    torch.testing.assert_close(output.embedding, output.stages[-1].mean(dim=(2, 3)))
    torch.testing.assert_close(output.logits, network.body.fc(output.embedding))


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
    with torch.device("meta"):
        network = models.build("torchvision:googlenet", num_classes=5, image_shape=(3, 64, 64)).train()
        output = network(torch.empty(2, 3, 64, 64))
    assert output.logits.shape == (2, 5)
    assert [name for name, _ in network.named_parameters() if "aux" in name] == []


def test_copies_share_nothing_and_no_hook_stays() -> None:
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
        ("vit_b_16", (3, 32, 16), "its images are square"),
        ("vit_b_16", (3, 30, 30), "divisible"),
        ("alexnet", (3, 32, 32), "too small"),
    ],
)
def test_images_that_do_not_fit_are_refused_with_the_reason(
    name: str, shape: tuple[int, int, int], reason: str
) -> None:
    with torch.device("meta"), pytest.raises(NetworkError, match=f"'torchvision:{name}' cannot be built .*{reason}"):
        models.build(f"torchvision:{name}", num_classes=5, image_shape=shape)


def test_a_vision_transformer_takes_the_size_of_the_images() -> None:
    with torch.device("meta"):
        found = shapes(models.build("torchvision:vit_b_16", num_classes=5, image_shape=(1, 32, 32)))
    assert (found.stages, found.embedding, found.num_classes) == ((), 768, 5)
    assert not found.preacts
    assert not found.cuttable


class Served:
    """What a download of torchvision's gives: weights of 1000 classes, or a failure."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.asked: list[str] = []
        self.safely: list[bool] = []
        with torch.random.fork_rng():
            torch.manual_seed(5)
            self.state = torchvision_models.get_model("resnet18").state_dict()

    def __call__(self, url: str, **options: object) -> dict[str, torch.Tensor]:
        self.asked.append(url)
        self.safely.append(bool(options.get("weights_only")))
        if self.error is not None:
            raise self.error
        return self.state


RESNET18 = NetworkSpec("big", architecture="torchvision:resnet18", pretrained=True)


@pytest.mark.parametrize(("classes", "taken"), [(1000, True), (7, False)])
def test_pretrained_weights_are_torchvisions_and_another_classifier_is_new(
    monkeypatch: pytest.MonkeyPatch, classes: int, taken: bool
) -> None:
    served = Served()
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", served)
    with seeded(3):
        network = models.start_spec(RESNET18, Task(classes, 100, (3, 32, 32), 10))
    with seeded(3):
        fresh = models.build("torchvision:resnet18", num_classes=classes, image_shape=(3, 32, 32))
    state = {key.removeprefix("body."): value for key, value in network.state_dict().items()}
    wrong = [key for key, value in state.items() if not key.startswith("fc.") and not value.equal(served.state[key])]
    assert wrong == []
    expected = served.state["fc.weight"] if taken else fresh.state_dict()["body.fc.weight"]
    assert torch.equal(state["fc.weight"], expected)
    assert set(served.asked) == {models.identified(RESNET18).start}
    assert served.safely[0], "the file was first read in a way that can run code"


def test_without_internet_the_file_and_its_folder_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", Served(OSError("no route to host")))
    with pytest.raises(NetworkError) as caught:
        models.start_spec(RESNET18, Task(7, 100, (3, 32, 32), 10))
    where = tmp_path / "hub" / "checkpoints"
    assert f"cannot be had: no route to host; put the file resnet18-f37072fd.pth into {where}" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "image_shape", "says"),
    [
        ("resnet18", (1, 32, 32), "pretrained weights take images of 3 channels, got 1"),
        ("vit_b_16", (3, 32, 32), r"pretrained weights take images \(H, W\) of \(224, 224\), got \(32, 32\)"),
    ],
)
def test_images_for_which_the_weights_are_not(name: str, image_shape: tuple[int, int, int], says: str) -> None:
    spec = NetworkSpec("big", architecture=f"torchvision:{name}", pretrained=True)
    with torch.device("meta"):
        network = models.build_spec(spec, Task(7, 100, image_shape, 10))
    with pytest.raises(NetworkError, match=says):
        models.check_start(spec, network, Task(7, 100, image_shape, 10), trains=True)


def test_weights_with_further_classifiers_are_refused() -> None:
    with pytest.raises(NetworkError, match="network with further classifiers"):
        models.identified(NetworkSpec("big", architecture="torchvision:googlenet", pretrained=True))


def test_a_new_classifier_must_train() -> None:
    task = Task(7, 100, (3, 32, 32), 10)
    with torch.device("meta"):
        network = models.build_spec(RESNET18, task)
    models.check_start(RESNET18, network, task, trains=True)
    with pytest.raises(NetworkError, match="are for 1000 classes and the data have 7, so its classifier is random"):
        models.check_start(RESNET18, network, task, trains=False)
