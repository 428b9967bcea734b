import copy
import subprocess
import sys

import pytest
import timm
import torch

from kdbench import models
from kdbench.errors import NetworkError
from kdbench.matrix import NetworkSpec
from kdbench.training.method import Task
from kdbench.training.network import shapes
from kdbench.training.randomness import seeded


@pytest.mark.parametrize(
    ("name", "expected", "embedding"),
    [
        ("resnet18", [(64, 112), (64, 56), (128, 28), (256, 14), (512, 7)], 512),
        ("efficientnet_b0", [(16, 112), (24, 56), (40, 28), (112, 14), (320, 7)], 1280),
        ("convnext_atto", [(40, 56), (80, 28), (160, 14), (320, 7)], 320),
        ("resnetv2_50", [(64, 112), (256, 56), (512, 28), (1024, 14), (2048, 7)], 2048),
        ("vit_tiny_patch16_224", [], 192),
        ("swin_tiny_patch4_window7_224", [], 768),
        ("mixer_s32_224", [], 512),
        ("deit_tiny_distilled_patch16_224", [], 2 * 192),
        ("crossvit_9_240", [], 128 + 256),
    ],
)
def test_stages_are_timms_features_if_they_are_maps(name: str, expected: list[tuple[int, int]], embedding: int) -> None:
    side = timm.get_pretrained_cfg(name).input_size[-1]
    with torch.device("meta"):
        found = shapes(models.build(f"timm:{name}", num_classes=7, image_shape=(3, side, side)))
    assert list(found.stages) == [(width, size, size) for width, size in expected]
    assert (found.embedding, found.num_classes) == (embedding, 7)
    assert not found.preacts
    assert not found.cuttable


@pytest.mark.parametrize("name", ["test_resnet", "test_convnext", "test_efficientnet", "test_vit"])
def test_embedding_and_logits_are_those_of_timms_own_split(name: str) -> None:
    network = models.build(f"timm:{name}", num_classes=5, image_shape=(3, 160, 160)).eval()
    images = torch.randn(2, 3, 160, 160)
    output, features = network(images), network.body.forward_features(images)
    assert torch.equal(output.logits, network.body.forward_head(features))
    assert torch.equal(output.embedding, network.body.forward_head(features, pre_logits=True))


@pytest.mark.parametrize("name", ["test_vit", "test_resnet", "vit_tiny_patch16_224"])
def test_other_sizes_and_channels(name: str) -> None:
    network = models.build(f"timm:{name}", num_classes=5, image_shape=(1, 32, 48)).train()
    output = network(torch.randn(2, 1, 32, 48))
    assert output.logits.shape == (2, 5)
    output.logits.square().sum().backward()
    assert [n for n, p in network.named_parameters() if p.grad is None] == []


def test_weights_follow_the_seed() -> None:
    def weights(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        network = models.build("timm:test_resnet", num_classes=5, image_shape=(3, 32, 32))
        return torch.nn.utils.parameters_to_vector(network.parameters())

    assert torch.equal(weights(0), weights(0))
    assert not torch.equal(weights(0), weights(1))


def test_hooks_of_a_copy_do_not_affect_the_original() -> None:
    network = models.build("timm:test_resnet", num_classes=5, image_shape=(3, 32, 32)).eval()
    twin, images = copy.deepcopy(network), torch.randn(2, 3, 32, 32)
    before = network(images)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.zero_()
    assert twin(images).embedding.abs().sum() == 0
    after = network(images)
    assert torch.equal(after.embedding, before.embedding)
    assert all(map(torch.equal, after.stages, before.stages))
    assert not any(module._forward_hooks for module in network.modules())


def test_an_image_shape_that_does_not_fit_raises_with_the_reason() -> None:
    with (
        torch.device("meta"),
        pytest.raises(NetworkError, match=r"'timm:levit_128s' cannot be built for .*\(3, 5, 7\)"),
    ):
        models.build("timm:levit_128s", num_classes=5, image_shape=(3, 5, 7))


@pytest.mark.parametrize(
    ("name", "valid"),
    [
        ("timm:resnet18x", "timm:resnet18"),
        ("timm:resnet18.a1_in1k", "timm:resnet18"),
        ("timm:convnext_ato", "timm:convnext_atto"),
        ("torchvision:resnet_18", "torchvision:resnet18"),
        ("torchvision:mobilenetv2", "torchvision:mobilenet_v2"),
    ],
)
def test_an_unknown_name_raises_with_the_nearest_name_of_the_library(name: str, valid: str) -> None:
    with pytest.raises(NetworkError, match=f"unknown network '{name}': .*; did you mean '{valid}'"):
        models.check(name, (3, 32, 32))


@pytest.mark.parametrize("prefix", ["timm:", "torchvision:"])
def test_a_prefix_without_a_name_raises_with_a_valid_name(prefix: str) -> None:
    with pytest.raises(NetworkError, match=f"did you mean '{prefix}\\w+'"):
        models.check(prefix, (3, 32, 32))


@pytest.mark.slow
def test_libraries_are_imported_only_for_their_names() -> None:
    program = (
        "import sys; from kdbench import models; models.check('resnet18', (3, 32, 32)); "
        "loaded = {'timm', 'torchvision'} & set(sys.modules); models.check('timm:resnet18', (3, 32, 32)); "
        "print(loaded, 'timm' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["set()", "True"]


RESNET18 = NetworkSpec("big", architecture="timm:resnet18", pretrained=True)


@pytest.mark.parametrize("channels", [1, 3])
def test_pretrained_weights_are_timms_adapted_to_the_images(monkeypatch: pytest.MonkeyPatch, channels: int) -> None:
    requested: list[str] = []
    with torch.random.fork_rng():
        torch.manual_seed(5)
        hub_weights = timm.create_model("resnet18").state_dict()

    def load(source: str, **options: object) -> dict[str, torch.Tensor]:
        requested.append(source)
        return {key: value.clone() for key, value in hub_weights.items()}

    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", load)
    with seeded(3):
        network = models.build_with_weights(RESNET18, Task(7, 100, (channels, 32, 32), 10))
    with seeded(3):
        fresh = models.build("timm:resnet18", num_classes=7, image_shape=(channels, 32, 32))
    state = {key.removeprefix("body."): value for key, value in network.state_dict().items()}
    first = hub_weights["conv1.weight"] if channels == 3 else hub_weights["conv1.weight"].sum(dim=1, keepdim=True)
    assert torch.allclose(state["conv1.weight"], first)
    assert torch.equal(state["layer4.1.conv2.weight"], hub_weights["layer4.1.conv2.weight"])
    assert torch.equal(state["fc.weight"], fresh.state_dict()["body.fc.weight"])
    assert requested == [models.resolve_weights(RESNET18).start] == ["timm/resnet18.a1_in1k"]


def test_without_internet_the_error_names_the_weights_and_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(source: str, **options: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", fail)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", "cache/of/the/hub")
    with pytest.raises(
        NetworkError, match=r"'timm/resnet18\.a1_in1k' cannot be .*no route to host; copy .* cache/of/the"
    ):
        models.build_with_weights(RESNET18, Task(7, 100, (3, 32, 32), 10))


def test_an_architecture_without_pretrained_weights_raises() -> None:
    with pytest.raises(NetworkError, match="timm has no pretrained weights for it; remove 'pretrained'"):
        models.resolve_weights(NetworkSpec("big", architecture="timm:coatnet_0_224", pretrained=True))
