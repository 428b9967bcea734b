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
def test_stages_are_timms_features_where_they_are_maps(
    name: str, expected: list[tuple[int, int]], embedding: int
) -> None:
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


def test_a_copy_hears_only_itself() -> None:
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


def test_images_that_do_not_fit_are_refused_with_the_reason() -> None:
    with (
        torch.device("meta"),
        pytest.raises(NetworkError, match=r"'timm:levit_128s' cannot be built for .*\(3, 5, 7\)"),
    ):
        models.build("timm:levit_128s", num_classes=5, image_shape=(3, 5, 7))


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("timm:resnet18x", "timm:resnet18"),
        ("timm:resnet18.a1_in1k", "timm:resnet18"),
        ("timm:convnext_ato", "timm:convnext_atto"),
        ("torchvision:resnet_18", "torchvision:resnet18"),
        ("torchvision:mobilenetv2", "torchvision:mobilenet_v2"),
    ],
)
def test_the_nearest_name_of_the_library_is_given(name: str, remedy: str) -> None:
    with pytest.raises(NetworkError, match=f"no network is called '{name}': .*; did you mean '{remedy}'"):
        models.check(name, (3, 32, 32))


@pytest.mark.parametrize("prefix", ["timm:", "torchvision:"])
def test_a_prefix_alone_has_a_remedy(prefix: str) -> None:
    with pytest.raises(NetworkError, match=f"did you mean '{prefix}\\w+'"):
        models.check(prefix, (3, 32, 32))


def test_the_libraries_are_imported_only_for_their_names() -> None:
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
    asked: list[str] = []
    with torch.random.fork_rng():
        torch.manual_seed(5)
        served = timm.create_model("resnet18").state_dict()

    def serve(place: str, **options: object) -> dict[str, torch.Tensor]:
        asked.append(place)
        return {key: value.clone() for key, value in served.items()}

    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", serve)
    with seeded(3):
        network = models.start_spec(RESNET18, Task(7, 100, (channels, 32, 32), 10))
    with seeded(3):
        fresh = models.build("timm:resnet18", num_classes=7, image_shape=(channels, 32, 32))
    state = {key.removeprefix("body."): value for key, value in network.state_dict().items()}
    first = served["conv1.weight"] if channels == 3 else served["conv1.weight"].sum(dim=1, keepdim=True)
    assert torch.allclose(state["conv1.weight"], first)
    assert torch.equal(state["layer4.1.conv2.weight"], served["layer4.1.conv2.weight"])
    assert torch.equal(state["fc.weight"], fresh.state_dict()["body.fc.weight"])
    assert asked == [models.identified(RESNET18).start] == ["timm/resnet18.a1_in1k"]


def test_without_internet_the_weights_and_their_folder_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(place: str, **options: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", refuse)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", "cache/of/the/hub")
    with pytest.raises(NetworkError, match=r"no route to host; copy those of 'timm/resnet18\.a1_in1k' .* cache/of/the"):
        models.start_spec(RESNET18, Task(7, 100, (3, 32, 32), 10))


def test_an_architecture_without_pretrained_weights_is_refused() -> None:
    with pytest.raises(NetworkError, match="timm has no pretrained weights for it; remove 'pretrained'"):
        models.identified(NetworkSpec("big", architecture="timm:coatnet_0_224", pretrained=True))
