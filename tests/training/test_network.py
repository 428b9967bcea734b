"""Shapes without computing, and frozen networks with a memory of the present batch."""

import copy

import pytest
import torch
from torch import nn

from kdbench.errors import MethodError, NetworkError
from kdbench.training.network import Frozen, Output, Shapes, shapes


class Counting(nn.Module):
    """One linear layer that counts how often it is asked, and says whether a graph was wanted."""

    image_shape = (1, 2, 2)

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 3)
        self.asked = 0

    def forward(self, images):
        self.asked += 1
        embedding = images.flatten(1)
        return Output(self.layer(embedding), (), (), embedding)


class Returning(nn.Module):
    """A network that returns whatever it is told to."""

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


def test_shapes_of_a_network_that_shows_no_maps():
    network = Counting()
    assert shapes(network) == Shapes(stages=(), embedding=4, num_classes=3, preacts=False, cuttable=False)
    assert network.asked == 0


def test_a_network_is_cuttable_if_it_names_its_three_parts():
    network = Counting()
    for part in ("stem", "stages"):
        setattr(network, part, nn.Identity())
        assert not shapes(network).cuttable
    network.head = nn.Identity()
    assert shapes(network).cuttable


def test_shapes_are_found_on_the_meta_device():
    with torch.device("meta"):
        assert shapes(Counting()).num_classes == 3


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (nn.Linear(4, 3), r"^Linear has no attribute 'image_shape' \(C, H, W\); build it with kdbench.models.build"),
        (Returning(torch.zeros(2, 3)), r"^Returning must return a kdbench.Output, got Tensor$"),
        (
            Returning(Output(torch.zeros(2, 3), (torch.zeros(2, 4),), (), torch.zeros(2, 4))),
            r"^Returning gives a stage of shape \(2, 4\); a stage is \(B, C, H, W\), and \(B, C, 1, 1\) where there is",
        ),
    ],
)
def test_a_network_that_breaks_the_contract_is_named(network, message):
    with pytest.raises(NetworkError, match=message):
        shapes(network)


def test_output_in_float32_and_without_a_graph():
    half = torch.ones(2, 3, dtype=torch.bfloat16, requires_grad=True)
    output = Output(half, (half[..., None, None],), (half[..., None, None] * 2,), half)
    for found in (output.float(), output.detach()):
        assert [t.shape for t in (*found.stages, *found.preacts)] == [(2, 3, 1, 1)] * 2

    def tensors(o):
        return o.logits, *o.stages, *o.preacts, o.embedding

    assert {t.dtype for t in tensors(output.float())} == {torch.float32}
    assert not any(t.requires_grad for t in tensors(output.detach()))


def test_frozen_stays_in_eval_mode(tiny):
    holder = nn.Sequential(Frozen(tiny(1)))
    holder.train()
    assert holder.training
    assert not any(module.training for module in holder[0].modules())


def test_frozen_keeps_its_weights_and_statistics(tiny, batch):
    frozen = Frozen(tiny(1))
    before = {name: value.clone() for name, value in frozen.state_dict().items()}
    frozen.train()
    frozen(batch.images)
    assert not any(parameter.requires_grad for parameter in frozen.parameters())
    assert all(torch.equal(before[name], value) for name, value in frozen.state_dict().items())


def test_frozen_knows_the_image_shape(frozen):
    assert frozen.image_shape == (1, 2, 2)


def test_the_same_input_is_computed_once(frozen, images):
    first = frozen(images)
    assert frozen(images) is first
    assert frozen.network.asked == 1
    assert torch.equal(first.logits, frozen.network.layer(images.flatten(1)))


def test_an_equal_input_is_another_input(frozen, images):
    first, second = frozen(images), frozen(images.clone())
    assert frozen.network.asked == 2
    assert torch.equal(first.logits, second.logits)


def test_an_input_that_was_written_to_is_another_input(frozen, images):
    first = frozen(images)
    images.add_(1)
    assert torch.equal(frozen(images).logits, frozen.network.layer(images.flatten(1)))
    assert not torch.equal(frozen(images).logits, first.logits)
    assert frozen.network.asked == 2


@pytest.mark.parametrize("part", ["logits", "embedding", "stage", "preact"])
def test_what_one_writes_into_an_answer_another_does_not_read(tiny, batch, part):
    frozen = Frozen(tiny(1))

    def read(output):
        parts = {"stage": output.stages[0], "preact": output.preacts[0]}
        return parts[part] if part in parts else getattr(output, part)

    expected = read(frozen(batch.images)).clone()
    read(frozen(batch.images)).mul_(2).add_(1)
    assert torch.equal(read(frozen(batch.images)), expected)


def test_forgetting_asks_again(frozen, images):
    frozen(images)
    frozen.clear_cache()
    frozen(images)
    assert frozen.network.asked == 2


def test_only_the_last_views_are_remembered(images):
    frozen = Frozen(Counting(), views=2)
    first, second, third = images, images + 1, images + 2
    for view in (first, second, third):
        frozen(view)
    frozen(second)
    frozen(third)
    assert frozen.network.asked == 3
    frozen(first)
    assert frozen.network.asked == 4


def test_what_is_remembered_has_no_graph(frozen, images):
    output = frozen(images)
    assert not output.logits.requires_grad
    assert not output.logits.is_inference()
    weight = torch.ones(1, requires_grad=True)
    (weight * output.logits).sum().backward()
    assert weight.grad == pytest.approx(output.logits.sum().item(), rel=1e-5)


def test_gradients_pass_to_the_input_and_not_to_the_weights(frozen, images):
    images.requires_grad_()
    frozen(images).logits.sum().backward()
    assert torch.allclose(images.grad.flatten(1), frozen.network.layer.weight.sum(dim=0).expand(5, 4))
    assert all(parameter.grad is None for parameter in frozen.parameters())


def test_an_input_that_needs_a_gradient_is_never_remembered(frozen, images):
    images.requires_grad_()
    assert frozen(images) is not frozen(images)
    assert frozen.network.asked == 2


def test_autocast_is_another_answer(frozen, images):
    plain = frozen(images)
    for _ in range(2):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            cast = frozen(images)
    assert (plain.logits.dtype, cast.logits.dtype) == (torch.float32, torch.bfloat16)
    assert frozen(images) is plain
    assert frozen.network.asked == 2


def test_a_deep_copy_begins_with_an_empty_memory(frozen, images):
    output = frozen(images)
    twin = copy.deepcopy(nn.Sequential(frozen))[0]
    assert twin.network is not frozen.network
    assert torch.equal(twin(images).logits, output.logits)
    assert (frozen.network.asked, twin.network.asked) == (1, 2)
    assert not twin.training


def test_what_it_repeats_is_said_of_these_images_alone(frozen, images):
    logits = torch.randn(5, 3)
    frozen.cache_partial(images, logits)
    assert frozen(images).logits is logits
    assert frozen.network.asked == 0
    assert not torch.equal(frozen(images.clone()).logits, logits)
    frozen.clear_cache()
    assert not torch.equal(frozen(images).logits, logits)
    assert frozen.network.asked == 2


def test_what_it_repeats_takes_the_place_of_what_it_computed(frozen, images):
    logits = frozen(images).logits
    frozen.cache_partial(images, logits)
    assert frozen(images).logits is logits
    with pytest.raises(MethodError, match="nothing else was kept"):
        frozen(images).embedding.sum()
    assert frozen.network.asked == 1


def test_what_it_repeats_may_have_embeddings_and_never_maps(frozen, images):
    embedding = torch.randn(5, 4)
    frozen.cache_partial(images, torch.randn(5, 3), embedding)
    assert frozen(images).embedding is embedding
    with pytest.raises(MethodError, match="none were kept"):
        frozen(images).stages[0]
    embedding.add_(1)
    assert not torch.equal(frozen(images).embedding, embedding)
    assert frozen.network.asked == 1


def test_what_it_repeats_holds_for_one_precision(frozen, images):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        frozen.cache_partial(images, torch.zeros(5, 3, dtype=torch.bfloat16))
        assert not frozen(images).logits.any()
    assert frozen(images).logits.dtype == torch.float32
    assert frozen.network.asked == 1


@pytest.mark.parametrize("part", ["images", "logits"])
def test_what_is_repeated_is_computed_again_where_somebody_wrote(frozen, images, part):
    logits = frozen(images).logits.clone()
    frozen.clear_cache()
    frozen.cache_partial(images, logits)
    (images if part == "images" else frozen(images).logits).add_(1)
    assert torch.equal(frozen(images).logits, frozen.network.layer(images.flatten(1)))
    assert frozen.network.asked == 2
