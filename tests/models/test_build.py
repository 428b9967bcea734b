import re
import time
from pathlib import Path

import pytest
import torch

from kdbench import models
from kdbench.errors import NetworkError
from kdbench.matrix import NetworkSpec
from kdbench.training.network import Output, Shapes, shapes

NAMES = [name for family in models.FAMILIES for name in family.examples]
DEFINED_HERE = [name for name in NAMES if ":" not in name]
SMALL = ["mlp_16_8", "cnn_4_8_fc6", "resnet8", "wrn_10_1"]


@pytest.mark.slow
def test_every_example_builds_on_the_meta_device() -> None:
    for name in DEFINED_HERE:
        with torch.device("meta"):
            network = models.build(name, num_classes=7, image_shape=(3, 16, 16))
        assert all(parameter.is_meta for parameter in network.parameters()), name
        found = shapes(network)
        assert found.num_classes == 7, name
        assert found.preacts, name
        assert found.cuttable, name


@pytest.mark.slow
def test_shapes_are_the_same_on_the_cpu_and_on_the_meta_device(monkeypatch: pytest.MonkeyPatch) -> None:
    def shapes_of(name: str) -> Shapes:
        with torch.device("meta"):
            network = models.build(name, num_classes=7, image_shape=(3, 32, 32))
        return shapes(network)

    small = [name for name in DEFINED_HERE if not name.startswith(("resnet101", "resnet152", "wrn_28"))]
    on_cpu = {name: shapes_of(name) for name in small}
    monkeypatch.setattr("kdbench.training.dry_run.MAX_PARAMETERS", 0)
    assert {name: shapes_of(name) for name in small} == on_cpu


@pytest.mark.slow
def test_every_library_example_builds_on_the_meta_device() -> None:
    for name in sorted(set(NAMES) - set(DEFINED_HERE)):
        with torch.device("meta"):
            network = models.build(name, num_classes=7, image_shape=(1, 32, 32))
        assert all(parameter.is_meta for parameter in network.parameters()), name
        assert shapes(network).num_classes == 7, name


@pytest.mark.parametrize("name", SMALL)
def test_weights_follow_the_seed(name: str) -> None:
    def weights(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        network = models.build(name, num_classes=5, image_shape=(1, 8, 8))
        return torch.nn.utils.parameters_to_vector(network.parameters())

    assert torch.equal(weights(0), weights(0))
    assert not torch.equal(weights(0), weights(1))


def test_every_family_has_valid_examples_a_description_and_a_paper() -> None:
    for family in models.FAMILIES:
        assert family.examples
        for name in family.examples:
            models.check(name, (3, 32, 32))
            assert family.nearest_name(name) == name
        assert all((family.pattern, family.rule, family.description))
        assert re.search(r"(19|20)\d\d", family.paper)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("wrn_17_2", "did you mean 'wrn_16_2'?"),
        ("wrn_4_2", "did you mean 'wrn_10_2'?"),
        ("wrn_16_02", "did you mean 'wrn_16_2'?"),
        ("wrn_16_0", "did you mean 'wrn_16_1'?"),
        ("resnet21", "did you mean 'resnet20'?"),
        ("resnet26x4", "did you mean 'resnet32x4'?"),
        ("mlp_", "did you mean 'mlp_32'?"),
        ("mlp_64_x", "did you mean 'mlp_64'?"),
        ("cnn_0", "did you mean 'cnn_8_16'?"),
        ("cnn_8_fc", "did you mean 'cnn_8'?"),
        ("wrn16_2", "did you mean 'wrn_16_2'?"),
        ("resnet51", "did you mean 'resnet56'?"),
        ("resnet160", "did you mean 'resnet152'?"),
        ("resnet20_cifar", "did you mean 'resnet18_cifar'?"),
        ("cnn_teachr", "did you mean 'cnn_teacher'?"),
        ("vgg", "did you mean 'vgg8'?"),
        ("vgg17", "did you mean 'vgg16'?"),
        ("mobilenetv2", "did you mean 'mobilenetv2_half'?"),
        ("shufflenet", "did you mean 'shufflenetv2'?"),
        ("zzz", "valid: "),
    ],
)
def test_an_unknown_name_raises_with_the_nearest_valid_name(name: str, hint: str) -> None:
    with pytest.raises(NetworkError, match=re.escape(hint)):
        models.check(name, (3, 32, 32))
    with pytest.raises(NetworkError, match=f"'{name}'"):
        models.build(name, num_classes=2, image_shape=(3, 32, 32))


def test_check_builds_nothing() -> None:
    start = time.perf_counter()
    for _ in range(100):
        models.check("wrn_1000000_1000000", (3, 32, 32))
    assert time.perf_counter() - start < 1


def test_an_invalid_image_shape_raises() -> None:
    with pytest.raises(NetworkError, match=r"at least 1 each, got \(3, 0, 8\)"):
        models.check("resnet8", (3, 0, 8))


def test_a_known_network_takes_no_options() -> None:
    with pytest.raises(NetworkError, match="only a network with a factory takes options, got width"):
        models.build("resnet8", num_classes=2, image_shape=(3, 8, 8), options={"width": 2})


def test_a_custom_network(custom_networks: Path) -> None:
    network = models.build(
        "mine", num_classes=3, image_shape=(1, 2, 2), factory="custom_networks:Linear", options={"scale": 2.0}
    )
    output = network(torch.ones(4, 1, 2, 2))
    assert isinstance(output, Output)
    assert output.embedding.tolist() == [[2.0] * 4] * 4
    assert network.image_shape == (1, 2, 2)


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        ("custom_networks", "must be written 'package.module:name'"),
        ("custom_networks:absent", "'custom_networks' has no 'absent'"),
        ("no_such_module_here:make", "module 'no_such_module_here' not found"),
        ("custom_networks:number", "must be callable, got int"),
        ("custom_networks:nothing", "must return a torch.nn.Module, got NoneType"),
        ("custom_networks:extra_logit", "must return 3 logits per image, got 4"),
        ("custom_networks:bare", "must return a kdbench.Output, got Tensor"),
    ],
)
def test_an_invalid_factory_raises(custom_networks: Path, factory: str, message: str) -> None:
    with pytest.raises(NetworkError, match=re.escape(message)):
        models.build("mine", num_classes=3, image_shape=(1, 2, 2), factory=factory)


def test_an_option_that_the_factory_does_not_accept_raises(custom_networks: Path) -> None:
    with pytest.raises(NetworkError, match=r"keyword arguments num_classes, image_shape, depth: .*'depth'"):
        models.build("m", num_classes=3, image_shape=(1, 2, 2), factory="custom_networks:nothing", options={"depth": 2})


def test_the_source_hash_follows_the_file(custom_networks: Path) -> None:
    before = models.source_hash("custom_networks:Linear")
    assert models.source_hash("custom_networks:nothing") == before
    custom_networks.write_text(custom_networks.read_text() + "# changed\n")
    assert models.source_hash("custom_networks:Linear") != before


def test_the_source_of_a_partial_is_its_module_and_what_that_imports(custom_networks: Path) -> None:
    own = custom_networks.with_name("partial_networks.py")
    own.write_text("from functools import partial\nfrom custom_networks import nothing\nsmall = partial(nothing)\n")
    before = models.source_hash("partial_networks:small")
    custom_networks.write_text(custom_networks.read_text() + "# changed\n")
    assert models.source_hash("partial_networks:small") != before


def test_a_callable_without_a_source_file_has_no_hash() -> None:
    with pytest.raises(NetworkError, match="must be defined in a Python file"):
        models.source_hash("math:sqrt")


@pytest.mark.parametrize(("factory", "architecture"), [("nets:make", None), (None, "mlp_8")])
def test_only_library_networks_have_pretrained_weights(factory: str | None, architecture: str | None) -> None:
    spec = NetworkSpec("mine", factory, architecture=architecture, pretrained=True)
    with pytest.raises(NetworkError, match=r"network 'mine': .* for '(nets:make|mlp_8)': only .*; remove 'pretrained'"):
        models.resolve_weights(spec)


def test_a_network_with_random_weights_is_returned_unchanged() -> None:
    assert models.resolve_weights(NetworkSpec("mlp_8")) == NetworkSpec("mlp_8")
