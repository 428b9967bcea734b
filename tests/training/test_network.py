"""Shapes from a dry run, and frozen networks that cache their outputs."""

import copy

import pytest
import torch
from torch import nn

from kdbench.errors import MethodError, NetworkError
from kdbench.training.network import Frozen, Output, Shapes, shapes


class Counting(nn.Module):
    """One linear layer that counts its forward passes."""

    image_shape = (1, 2, 2)

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 3)
        self.calls = 0

    def forward(self, images):
        self.calls += 1
        embedding = images.flatten(1)
        return Output(self.layer(embedding), (), (), embedding)


class Returning(nn.Module):
    """A network that returns a given value."""

    image_shape = (1, 2, 2)

    def __init__(self, result):
        super().__init__()
        self.result = result

    def forward(self, images):
        return self.result


@pytest.fixture
def frozen():
    torch.manual_seed(0)
    return Frozen(Counting())


@pytest.fixture
def images():
    return torch.randn(5, 1, 2, 2, generator=torch.Generator().manual_seed(1))


def test_shapes_come_from_a_dry_run(tiny):
    network = tiny(1)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    assert shapes(network) == Shapes(stages=((4, 3, 3),), embedding=4, num_classes=3, preacts=True, cuttable=False)
    assert network.training
    after = network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_shapes_of_a_network_without_maps():
    network = Counting()
    assert shapes(network) == Shapes(stages=(), embedding=4, num_classes=3, preacts=False, cuttable=False)
    assert network.calls == 0


def test_a_network_is_cuttable_if_it_has_the_three_parts():
    network = Counting()
    for part in ("stem", "stages"):
        setattr(network, part, nn.Identity())
        assert not shapes(network).cuttable
    network.head = nn.Identity()
    assert shapes(network).cuttable


def test_shapes_of_a_network_built_on_the_meta_device():
    with torch.device("meta"):
        assert shapes(Counting()).num_classes == 3


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (nn.Linear(4, 3), r"^Linear has no attribute 'image_shape' \(C, H, W\); build it with kdbench.models.build"),
        (Returning(torch.zeros(2, 3)), r"^Returning must return a kdbench.Output, got Tensor$"),
        (
            Returning(Output(torch.zeros(2, 3), (torch.zeros(2, 4),), (), torch.zeros(2, 4))),
            r"^Returning returns a stage of shape \(2, 4\); a stage is \(B, C, H, W\), or \(B, C, 1, 1\) if it has",
        ),
    ],
)
def test_a_network_that_breaks_the_contract_is_refused(network, message):
    with pytest.raises(NetworkError, match=message):
        shapes(network)


def test_an_output_converts_all_its_tensors():
    half = torch.ones(2, 3, dtype=torch.bfloat16, requires_grad=True)
    output = Output(half, (half[..., None, None],), (half[..., None, None] * 2,), half)
    for converted in (output.float(), output.detach()):
        assert [t.shape for t in (*converted.stages, *converted.preacts)] == [(2, 3, 1, 1)] * 2

    def tensors(o):
        return o.logits, *o.stages, *o.preacts, o.embedding

    assert {t.dtype for t in tensors(output.float())} == {torch.float32}
    assert not any(t.requires_grad for t in tensors(output.detach()))


def test_a_frozen_network_stays_in_eval_mode(tiny):
    holder = nn.Sequential(Frozen(tiny(1)))
    holder.train()
    assert holder.training
    assert not any(module.training for module in holder[0].modules())


def test_a_frozen_network_keeps_its_weights_and_statistics(tiny, batch):
    frozen = Frozen(tiny(1))
    before = {name: value.clone() for name, value in frozen.state_dict().items()}
    frozen.train()
    frozen(batch.images)
    assert not any(parameter.requires_grad for parameter in frozen.parameters())
    assert all(torch.equal(before[name], value) for name, value in frozen.state_dict().items())


def test_a_frozen_network_has_the_image_shape(frozen):
    assert frozen.image_shape == (1, 2, 2)


def test_the_same_input_is_computed_once(frozen, images):
    first = frozen(images)
    assert frozen(images) is first
    assert frozen.network.calls == 1
    assert torch.equal(first.logits, frozen.network.layer(images.flatten(1)))


def test_an_equal_input_is_another_input(frozen, images):
    first, second = frozen(images), frozen(images.clone())
    assert frozen.network.calls == 2
    assert torch.equal(first.logits, second.logits)


def test_an_input_modified_in_place_is_another_input(frozen, images):
    first = frozen(images)
    images.add_(1)
    assert torch.equal(frozen(images).logits, frozen.network.layer(images.flatten(1)))
    assert not torch.equal(frozen(images).logits, first.logits)
    assert frozen.network.calls == 2


@pytest.mark.parametrize("part", ["logits", "embedding", "stage", "preact"])
def test_an_output_modified_in_place_is_computed_again(tiny, batch, part):
    frozen = Frozen(tiny(1))

    def read(output):
        parts = {"stage": output.stages[0], "preact": output.preacts[0]}
        return parts[part] if part in parts else getattr(output, part)

    expected = read(frozen(batch.images)).clone()
    read(frozen(batch.images)).mul_(2).add_(1)
    assert torch.equal(read(frozen(batch.images)), expected)


def test_a_cleared_cache_computes_again(frozen, images):
    frozen(images)
    frozen.clear_cache()
    frozen(images)
    assert frozen.network.calls == 2


def test_only_the_last_views_are_cached(images):
    frozen = Frozen(Counting(), views=2)
    first, second, third = images, images + 1, images + 2
    for view in (first, second, third):
        frozen(view)
    frozen(second)
    frozen(third)
    assert frozen.network.calls == 3
    frozen(first)
    assert frozen.network.calls == 4


def test_a_cached_output_has_no_autograd_graph(frozen, images):
    output = frozen(images)
    assert not output.logits.requires_grad
    assert not output.logits.is_inference()
    weight = torch.ones(1, requires_grad=True)
    (weight * output.logits).sum().backward()
    assert weight.grad == pytest.approx(output.logits.sum().item(), rel=1e-5)


def test_gradients_pass_to_the_input_but_not_to_the_weights(frozen, images):
    images.requires_grad_()
    frozen(images).logits.sum().backward()
    assert torch.allclose(images.grad.flatten(1), frozen.network.layer.weight.sum(dim=0).expand(5, 4))
    assert all(parameter.grad is None for parameter in frozen.parameters())


def test_the_output_for_an_input_that_needs_a_gradient_is_not_cached(frozen, images):
    images.requires_grad_()
    assert frozen(images) is not frozen(images)
    assert frozen.network.calls == 2


def test_outputs_are_cached_per_autocast_mode(frozen, images):
    plain = frozen(images)
    for _ in range(2):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            cast = frozen(images)
    assert (plain.logits.dtype, cast.logits.dtype) == (torch.float32, torch.bfloat16)
    assert frozen(images) is plain
    assert frozen.network.calls == 2


def test_a_deep_copy_has_an_empty_cache(frozen, images):
    output = frozen(images)
    twin = copy.deepcopy(nn.Sequential(frozen))[0]
    assert twin.network is not frozen.network
    assert torch.equal(twin(images).logits, output.logits)
    assert (frozen.network.calls, twin.network.calls) == (1, 2)
    assert not twin.training


def test_partial_outputs_are_for_the_given_images_only(frozen, images):
    logits = torch.randn(5, 3)
    frozen.cache_partial(images, logits)
    assert frozen(images).logits is logits
    assert frozen.network.calls == 0
    assert not torch.equal(frozen(images.clone()).logits, logits)
    frozen.clear_cache()
    assert not torch.equal(frozen(images).logits, logits)
    assert frozen.network.calls == 2


def test_a_partial_output_replaces_the_computed_one(frozen, images):
    logits = frozen(images).logits
    frozen.cache_partial(images, logits)
    assert frozen(images).logits is logits
    with pytest.raises(MethodError, match="field 'embedding'"):
        frozen(images).embedding.sum()
    assert frozen.network.calls == 1


def test_a_partial_output_may_have_embeddings_but_no_maps(frozen, images):
    embedding = torch.randn(5, 4)
    frozen.cache_partial(images, torch.randn(5, 3), embedding)
    assert frozen(images).embedding is embedding
    with pytest.raises(MethodError, match="field 'stages'"):
        frozen(images).stages[0]
    embedding.add_(1)
    assert not torch.equal(frozen(images).embedding, embedding)
    assert frozen.network.calls == 1


def test_partial_outputs_are_for_the_current_autocast_mode(frozen, images):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        frozen.cache_partial(images, torch.zeros(5, 3, dtype=torch.bfloat16))
        assert not frozen(images).logits.any()
    assert frozen(images).logits.dtype == torch.float32
    assert frozen.network.calls == 1


@pytest.mark.parametrize("part", ["images", "logits"])
def test_a_partial_output_modified_in_place_is_computed_again(frozen, images, part):
    logits = frozen(images).logits.clone()
    frozen.clear_cache()
    frozen.cache_partial(images, logits)
    (images if part == "images" else frozen(images).logits).add_(1)
    assert torch.equal(frozen(images).logits, frozen.network.layer(images.flatten(1)))
    assert frozen.network.calls == 2


def test_of_freezes_a_network_once():
    network = nn.Linear(4, 3)
    frozen = Frozen.of(network)
    assert frozen.network is network
    assert not any(parameter.requires_grad for parameter in network.parameters())
    assert Frozen.of(frozen) is frozen
