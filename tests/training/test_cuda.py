"""On a GPU: captured steps equal eager ones, members are isolated, nothing synchronizes, and memory is freed."""

import gc
import os
from itertools import chain, repeat

import pytest
import torch

from kdbench import methods
from kdbench.data.batches import Batches
from kdbench.matrix.recipe import Adam, Cosine, Crop, Flip, RandomErasing, Recipe, Sgd
from kdbench.training.checkpoint import from_bytes, to_bytes
from kdbench.training.cuda_graphs import WARM_UP, make_recorder
from kdbench.training.evaluation import compute_logits
from kdbench.training.loop import CohortLoop
from kdbench.training.member import Member
from kdbench.training.network import Frozen, to_device
from kdbench.training.precision import tf32_as_in
from kdbench.training.static_batches import GraphedTeacher, StaticBatches
from kdbench.worker.memory import train_within_memory

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
    pytest.mark.filterwarnings("ignore:Synchronization debug mode"),
    pytest.mark.filterwarnings("ignore:This instance was constructed with cuda_graph_safe=True"),
]
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # as in a worker, before cuBLAS is loaded

GPU, EPOCHS, STEPS = torch.device("cuda"), 3, WARM_UP + 1  # so that the first epoch ends with the capture
CANCELLED = {"conv.bias", "norm.running_mean"}  # batch norm cancels the bias: its gradient is rounding error
both = pytest.mark.parametrize("graphed", [False, True], ids=["eager", "captured"])


@pytest.fixture(autouse=True)
def as_in_a_worker():
    torch.use_deterministic_algorithms(True, warn_only=True)
    yield
    torch.use_deterministic_algorithms(False)
    torch.cuda.set_sync_debug_mode("default")


@pytest.fixture
def teacher(tiny):
    return Frozen(to_device(tiny(99), GPU))


@pytest.fixture
def run(tiny, teacher):
    """`run(graphed, seed, **recipe)`: a member with dropout; all have the same initial weights."""

    def make(graphed, seed=1, **recipe):
        method = methods.create(
            ["vanilla"], student=to_device(tiny(1), GPU), teacher=teacher, parameters={"vanilla": {"temperature": 2.0}}
        )
        fields = {"epochs": EPOCHS, "precision": "fp32", "optimizer": Sgd(lr=0.05), "schedule": Cosine(), **recipe}
        return Member(str(seed), method, Recipe(**fields), seed, make_recorder(GPU) if graphed else None)

    return make


class SyncChecked:
    """Batches; after the first epoch, any synchronization while a batch is drawn or trained on is an error."""

    def __init__(self, batches):
        self.batches, self.modes = batches, chain(["default"], repeat("error"))

    def epoch(self, epoch, epochs):
        torch.cuda.set_sync_debug_mode(next(self.modes))
        yield from self.batches.epoch(epoch, epochs)
        torch.cuda.set_sync_debug_mode("default")


@pytest.fixture
def train(teacher):
    """`train(members, first, on_epoch_end)`: train as a worker does; the error of any member is raised."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (6 * STEPS, 2, 3, 3), dtype=torch.uint8, generator=generator).to(GPU)
    labels = (torch.arange(6 * STEPS) % 3).to(GPU)
    recipe = Recipe(batch_size=6, augment=(Crop(padding=1), Flip(), RandomErasing()))
    batches = Batches(images, labels, torch.arange(6 * STEPS), mean=(0.5, 0.5), std=(0.2, 0.2), recipe=recipe, seed=0)

    def together(members, first=0, on_epoch_end=lambda epoch, active: None):
        any_graphed = any(member.uses_cuda_graph for member in members)
        checked = SyncChecked(batches)
        static = StaticBatches(checked) if any_graphed else checked
        forwards = {teacher: GraphedTeacher(teacher, make_recorder(GPU))} if any_graphed else None
        CohortLoop(members, static, [teacher], lambda member: {}, on_epoch_end, forwards).train(EPOCHS, first)
        for member in members:
            if member.error is not None:
                raise member.error
            assert member.is_captured == member.uses_cuda_graph

    return together


def weights(member):
    return member.method.deployed()["student"].state_dict()


def same(first, second):
    return all(torch.equal(value, weights(second)[key]) for key, value in weights(first).items())


@pytest.mark.parametrize("optimizer", [Sgd(lr=0.05), Adam(lr=0.001)], ids=["sgd", "adam"])
@pytest.mark.parametrize("grad_clip_norm", [None, 0.1])
def test_a_captured_run_equals_an_eager_one_up_to_rounding(run, train, optimizer, grad_clip_norm):
    """With a changing learning rate and dropout; also, no batch after the first epoch synchronizes."""
    eager, captured = (run(graphed, optimizer=optimizer, grad_clip_norm=grad_clip_norm) for graphed in (False, True))
    train([eager])
    train([captured])
    for key, value in weights(eager).items():
        if key not in CANCELLED:
            torch.testing.assert_close(weights(captured)[key], value, rtol=1e-3, atol=1e-4)
    for ours, theirs in zip(eager.history, captured.history, strict=True):
        assert {k: v for k, v in ours.items() if k != "seconds"} == pytest.approx(
            {k: v for k, v in theirs.items() if k != "seconds"}, rel=1e-3
        )


@both
def test_a_run_is_the_same_in_a_cohort_as_alone(run, train, graphed):
    alone, beside = run(graphed), run(graphed)
    train([alone])
    train([run(True, 2), beside, run(False, 3), run(True, 4)])
    assert same(alone, beside)


@both
def test_each_member_has_its_own_random_state(run, train, graphed):
    """Dropout differs between seeds."""
    first, other, equal = (run(graphed, seed) for seed in (1, 2, 1))
    train([first, other, equal])
    assert same(first, equal)
    assert not same(first, other)


@both
@pytest.mark.parametrize("optimizer", [Sgd(lr=0.05), Adam(lr=0.001)], ids=["sgd", "adam"])
def test_a_run_resumes_bit_for_bit(run, train, teacher, optimizer, graphed):
    complete, interrupted, resumed = (run(graphed, optimizer=optimizer) for _ in range(3))
    train([complete])

    def stop(epoch, active):
        interrupted.is_finished = epoch == 0

    train([interrupted], on_epoch_end=stop)
    resumed.load_state_dict(from_bytes(to_bytes(interrupted.state_dict({teacher}))), {teacher})
    train([resumed], first=1)
    assert same(complete, resumed)


@pytest.mark.parametrize("before", [1, WARM_UP], ids=["eager", "during the capture"])
def test_memory_is_freed_after_out_of_memory(run, train, before):
    """Each member holds 1 GiB; with two, a batch after the first `before` allocates more than any GPU has."""
    allocated, trained = [], []

    def train_all(specs):
        allocated.append(torch.cuda.memory_allocated())
        members = [run(True, spec) for spec in specs]
        for member in members:
            member.method.student.ballast = torch.empty(2**30, dtype=torch.uint8, device=GPU)
        calls = []

        def exhaust(*_):
            calls.append(1)
            if len(specs) > 1 and len(calls) > before:
                torch.empty(2**50, dtype=torch.uint8, device=GPU)

        members[0].method.student.register_forward_pre_hook(exhaust)
        train(members)
        trained.extend(specs)

    gc.collect()
    train_within_memory([1, 2], train_all, lambda spec, error: None, lambda specs: None)
    assert trained == [1, 2]
    assert len(allocated) == 3
    assert max(allocated) < allocated[0] + 2**29  # the workspaces of cuBLAS remain


@pytest.mark.parametrize("precision", ["fp32", "tf32"])
def test_fp32_is_ieee_float32_and_tf32_is_not(precision):
    """1 + 2^-12 needs 12 bits after the point; TF32 has 10."""
    if torch.cuda.get_device_capability() < (8, 0):
        pytest.skip("needs a GPU with TF32 (compute capability 8.0)")
    matrix = torch.full((256, 256), 1 + 2**-12, device=GPU)
    images, identity = torch.full((8, 256, 16, 16), 1 + 2**-12, device=GPU), torch.eye(256, device=GPU)
    with tf32_as_in(precision):
        product, maps = matrix @ identity, torch.conv2d(images, identity[:, :, None, None])
    is_exact = [bool((found == 1 + 2**-12).all()) for found in (product, maps)]
    assert is_exact == ([True, True] if precision == "fp32" else [False, False])


def test_scores_are_exact_whatever_is_allowed(tiny):
    network = to_device(tiny(1), GPU)
    images = torch.randn(32, 2, 3, 3, device=GPU)
    expected = compute_logits(network, [images])
    with tf32_as_in("tf32"), torch.autocast("cuda", dtype=torch.bfloat16):
        assert torch.equal(compute_logits(network, [images]), expected)
