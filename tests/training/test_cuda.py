"""On a GPU: recorded steps are the plain ones, members are as alone, nothing waits, and memory comes back."""

import gc
import os
from itertools import chain, repeat

import pytest
import torch

from kdbench import methods
from kdbench.data.batches import Batches
from kdbench.matrix.recipe import Adam, Cosine, Crop, Flip, RandomErasing, Recipe, Sgd
from kdbench.training.checkpoint import from_bytes, to_bytes
from kdbench.training.cuda_graphs import WARM_UP, recorder
from kdbench.training.loop import CohortLoop
from kdbench.training.member import Member
from kdbench.training.network import Frozen, to_device
from kdbench.training.static_batches import GraphedTeacher, StaticBatches
from kdbench.worker.memory import train_within_memory

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU that torch can use is here"),
    pytest.mark.filterwarnings("ignore:Synchronization debug mode"),
    pytest.mark.filterwarnings("ignore:This instance was constructed with cuda_graph_safe=True"),
]
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # as in a worker, before cuBLAS is there

GPU, EPOCHS, STEPS = torch.device("cuda"), 3, WARM_UP + 1  # so that the first epoch ends with the recording
CANCELLED = {"conv.bias", "norm.running_mean"}  # batch norm takes the bias away: its gradient is rounding alone
both = pytest.mark.parametrize("recorded", [False, True], ids=["plain", "recorded"])


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
    """`run(recorded, seed, **recipe)`: a member with dropout; all begin with the same weights."""

    def make(recorded, seed=1, **recipe):
        method = methods.create(
            ["vanilla"], student=to_device(tiny(1), GPU), teacher=teacher, parameters={"vanilla": {"temperature": 2.0}}
        )
        asked = {"epochs": EPOCHS, "precision": "fp32", "optimizer": Sgd(lr=0.05), "schedule": Cosine(), **recipe}
        return Member(str(seed), method, Recipe(**asked), seed, recorder(GPU) if recorded else None)

    return make


class Watched:
    """Batches; after the first epoch whatever waits for the GPU while one is drawn or taken is an error."""

    def __init__(self, batches):
        self.batches, self.modes = batches, chain(["default"], repeat("error"))

    def epoch(self, epoch, epochs):
        torch.cuda.set_sync_debug_mode(next(self.modes))
        yield from self.batches.epoch(epoch, epochs)
        torch.cuda.set_sync_debug_mode("default")


@pytest.fixture
def train(teacher):
    """`train(members, first, report)`: as a worker does; a failure of any is raised."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (6 * STEPS, 2, 3, 3), dtype=torch.uint8, generator=generator).to(GPU)
    labels = (torch.arange(6 * STEPS) % 3).to(GPU)
    recipe = Recipe(batch_size=6, augment=(Crop(padding=1), Flip(), RandomErasing()))
    drawn = Batches(images, labels, torch.arange(6 * STEPS), mean=(0.5, 0.5), std=(0.2, 0.2), recipe=recipe, seed=0)

    def together(members, first=0, report=lambda epoch, active: None):
        records = any(member.records for member in members)
        watched = Watched(drawn)
        held = StaticBatches(watched) if records else watched
        asked = {teacher: GraphedTeacher(teacher, recorder(GPU))} if records else None
        CohortLoop(members, held, [teacher], lambda member: {}, report, asked).train(EPOCHS, first)
        for member in members:
            if member.error is not None:
                raise member.error
            assert member.is_captured == member.records

    return together


def weights(member):
    return member.method.deployed()["student"].state_dict()


def same(first, second):
    return all(torch.equal(value, weights(second)[key]) for key, value in weights(first).items())


@pytest.mark.parametrize("optimizer", [Sgd(lr=0.05), Adam(lr=0.001)], ids=["sgd", "adam"])
@pytest.mark.parametrize("grad_clip_norm", [None, 0.1])
def test_a_recorded_run_is_the_plain_one_but_for_rounding(run, train, optimizer, grad_clip_norm):
    """At a rate that falls, with dropout; also, no batch after the first epoch waits for the GPU."""
    plain, recorded = (run(way, optimizer=optimizer, grad_clip_norm=grad_clip_norm) for way in (False, True))
    train([plain])
    train([recorded])
    for key, value in weights(plain).items():
        if key not in CANCELLED:
            torch.testing.assert_close(weights(recorded)[key], value, rtol=1e-3, atol=1e-4)
    for ours, theirs in zip(plain.history, recorded.history, strict=True):
        assert {k: v for k, v in ours.items() if k != "seconds"} == pytest.approx(
            {k: v for k, v in theirs.items() if k != "seconds"}, rel=1e-3
        )


@both
def test_beside_others_a_run_is_as_alone(run, train, recorded):
    alone, beside = run(recorded), run(recorded)
    train([alone])
    train([run(True, 2), beside, run(False, 3), run(True, 4)])
    assert same(alone, beside)


@both
def test_each_member_has_a_random_stream_of_its_own(run, train, recorded):
    """Dropout tells equal seeds from others."""
    first, other, equal = (run(recorded, seed) for seed in (1, 2, 1))
    train([first, other, equal])
    assert same(first, equal)
    assert not same(first, other)


@both
@pytest.mark.parametrize("optimizer", [Sgd(lr=0.05), Adam(lr=0.001)], ids=["sgd", "adam"])
def test_a_run_goes_on_bit_for_bit(run, train, teacher, optimizer, recorded):
    whole, begun, resumed = (run(recorded, optimizer=optimizer) for _ in range(3))
    train([whole])

    def stop(epoch, active):
        begun.finished = epoch == 0

    train([begun], report=stop)
    resumed.resume(from_bytes(to_bytes(begun.state({teacher}))), {teacher})
    train([resumed], first=1)
    assert same(whole, resumed)


@pytest.mark.parametrize("batches", [1, WARM_UP], ids=["plain", "while it is recorded"])
def test_memory_that_runs_out_in_the_middle_comes_back(run, train, batches):
    """Each member holds a gigabyte; two together ask, in a batch after the first ones, for what no GPU has."""
    found, trained = [], []

    def train_all(specs):
        found.append(torch.cuda.memory_allocated())
        members = [run(True, spec) for spec in specs]
        for member in members:
            member.method.student.ballast = torch.empty(2**30, dtype=torch.uint8, device=GPU)
        passed = []

        def exhaust(*_):
            passed.append(1)
            if len(specs) > 1 and len(passed) > batches:
                torch.empty(2**50, dtype=torch.uint8, device=GPU)

        members[0].method.student.register_forward_pre_hook(exhaust)
        train(members)
        trained.extend(specs)

    gc.collect()
    train_within_memory([1, 2], train_all, lambda spec, error: None, lambda specs: None)
    assert trained == [1, 2]
    assert len(found) == 3
    assert max(found) < found[0] + 2**29  # what stays are workspaces of cuBLAS
