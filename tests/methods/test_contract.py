"""What every method keeps, whatever it does: the contract of `kdbench.training.method`."""

import inspect
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, get_args, get_origin

import pytest
import torch

from kdbench.hyperparameters import Tune, declared, roles
from kdbench.matrix.recipe import Recipe, Sgd
from kdbench.methods import METHODS
from kdbench.methods.offline import Offline
from kdbench.methods.sums import Sum
from kdbench.training.checkpoint import from_bytes, to_bytes
from kdbench.training.loop import CohortLoop
from kdbench.training.member import Member
from kdbench.training.network import Frozen, Output

ROLES = {"student", "teacher", "teachers", "peers", "task"}
PROGRESS = (0.0, 0.1, 0.5, 0.9, 1.0)
WAITING = {"nuclear_norm": {"_linalg_svd"}}  # torch looks on the host whether the GPU has found the singular values
every_method = pytest.mark.parametrize("method", list(METHODS.values()), ids=METHODS)


def drive(method, batch, progress=PROGRESS, bf16=False) -> Iterator:
    """Train as the harness does, with plain gradient descent; yields each step once it is taken."""
    players = method.players()
    for share in progress:
        for module in method.modules():
            if isinstance(module, Frozen):
                module.clear_cache()
        steps = method.steps(replace(batch, progress=share))
        while (step := advance(steps, bf16)) is not None:
            parameters = list(players[step.player].parameters())
            gradients = torch.autograd.grad(sum(step.losses.values()), parameters, allow_unused=True)
            with torch.no_grad():
                for parameter, gradient in zip(parameters, gradients, strict=True):
                    parameter -= 0.01 * (0 if gradient is None else gradient)
            yield step, {p: g for p, g in zip(parameters, gradients, strict=True) if g is not None}


def advance(steps, bf16):
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
        step = next(steps, None)
        assert torch.is_autocast_enabled("cpu") == bf16, "autocast leaks across a yield"
    assert torch.is_grad_enabled(), "no_grad leaks across a yield"
    return step


def weights(modules):
    """A copy of all parameters and buffers, by name."""
    return {f"{name}.{key}": t.clone() for name, m in modules.items() for key, t in m.state_dict().items()}


def same(before, after):
    return before.keys() == after.keys() and all(torch.equal(before[key], after[key]) for key in before)


@pytest.mark.parametrize("bf16", [False, True], ids=["fp32", "bf16"])
def test_losses_are_finite_scalars_in_float32(build, teacher, batch, parts, bf16):
    method, seen = build(parts, teacher), 0
    for step, _ in drive(method, batch, bf16=bf16):
        seen += 1
        for term, loss in step.losses.items():
            assert loss.shape == (), term
            assert loss.dtype == torch.float32, term
            assert loss.isfinite(), term
        assert sum(step.losses.values()).requires_grad
    assert seen >= len(PROGRESS)


def test_a_step_moves_its_player_and_nobody_else(build, teacher, batch, parts):
    method = build(parts, teacher)
    parameters = {name: [p.clone() for p in player.parameters()] for name, player in method.players().items()}
    moved = set()
    for step, _ in drive(method, batch):
        for name, player in method.players().items():
            now = [p.clone() for p in player.parameters()]
            equal = all(torch.equal(a, b) for a, b in zip(parameters[name], now, strict=True))
            assert name == step.player or equal, f"a step of {step.player} moved {name}"
            moved |= set() if equal else {name}
            parameters[name] = now
    assert moved == method.players().keys()


def test_every_parameter_of_a_player_is_trained(build, teacher, batch, parts):
    method = build(parts, teacher)
    trained = {id(p) for _, gradients in drive(method, batch) for p in gradients}
    for name, player in method.players().items():
        idle = [key for key, parameter in player.named_parameters() if id(parameter) not in trained]
        assert idle == [], f"{name} has parameters without a gradient"


@pytest.mark.parametrize("bf16", [False, True], ids=["fp32", "bf16"])
def test_the_teacher_stays_as_it_was(build, teacher, batch, parts, bf16):
    before = weights({"teacher": teacher})
    method = build(parts, teacher)
    list(drive(method, batch, bf16=bf16))
    method.train()
    assert same(before, weights({"teacher": teacher}))
    holders = [module for module in method.modules() if isinstance(module, Frozen)]
    fixed = {module for holder in holders for module in holder.modules()}
    assert not any(module.training for module in fixed)
    assert set(method.modules()).isdisjoint(set(teacher.modules()) - fixed), "the teacher is not frozen"


def test_the_same_seed_gives_the_same_weights(build, tiny, batch, parts):
    first, second = (build(parts, tiny(2, (6, 8, 12))) for _ in range(2))
    for method in (first, second):
        torch.manual_seed(6)
        list(drive(method, batch))
    assert same(weights(first.players()), weights(second.players()))
    assert same(weights(first.deployed()), weights(second.deployed()))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_beside_others_it_is_as_it_would_be_alone(build, tiny, batch, parts, precision):
    recipe = Recipe(epochs=2, precision=precision, optimizer=Sgd(lr=1e-3))

    def trained(*configurations):
        teacher = Frozen(tiny(2, (6, 8, 12)))
        members = [Member("", build(one, teacher), recipe, seed=1) for one in configurations]
        CohortLoop(members, Repeated(batch), [teacher], lambda member: {}, lambda epoch, members: None).train(2)
        return members

    (alone,), (_, beside, _) = trained(parts), trained({"vanilla": {}}, parts, {"zskt": {"student_steps": 1}})
    assert beside.error is None
    assert same(weights(alone.method.players()), weights(beside.method.players()))


class Repeated:
    """Epochs of two equal batches."""

    def __init__(self, batch):
        self.batch = batch

    def epoch(self, epoch, epochs):
        for position in range(2):
            yield replace(self.batch, progress=(epoch + position / 2) / epochs)


def test_a_run_goes_on_from_its_state(build, tiny, batch, parts):
    whole, begun, resumed = (build(parts, tiny(2, (6, 8, 12))) for _ in range(3))
    torch.manual_seed(6)
    list(drive(whole, batch))
    torch.manual_seed(6)
    list(drive(begun, batch, PROGRESS[:3]))
    resumed.load_state_dict(begun.state_dict())
    list(drive(resumed, batch, PROGRESS[3:]))
    assert same(weights(whole.players()), weights(resumed.players()))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_resumed_run_is_the_undisturbed_one(build, tiny, batch, parts, precision):
    """From a checkpoint between two epochs, made of bytes, beside a teacher that it does not hold."""
    recipe = Recipe(epochs=4, precision=precision, optimizer=Sgd(lr=1e-3))

    def member():
        return Member("", build(parts, Frozen(tiny(2, (6, 8, 12)))), recipe, seed=1)

    def train(run, first, last):
        def stop(epoch, members):
            run.is_finished = epoch + 1 == last

        CohortLoop([run], Repeated(batch), list(shared(run)), lambda member: {}, stop).train(4, first)

    def shared(run):
        teacher = getattr(run.method, "teacher", None)
        return {teacher} if isinstance(teacher, Frozen) else set()

    whole, begun, resumed = member(), member(), member()
    train(whole, 0, 4)
    assert whole.error is None
    train(begun, 0, 2)
    torch.manual_seed(99)
    resumed.load_state_dict(from_bytes(to_bytes(begun.state_dict(shared(begun)))), shared(resumed))
    train(resumed, 2, 4)
    assert same(weights(whole.method.players()), weights(resumed.method.players()))
    assert same(weights(whole.method.deployed()), weights(resumed.method.deployed()))


def test_the_losses_read_what_the_method_says(build, teacher, batch, parts):
    """What is said not to be read may be anything: empty, or NaN."""
    method = build(parts, teacher)
    if not isinstance(method, Offline | Sum):
        return
    hidden = {"logits": ("embedding", "maps"), "embedding": ("maps",)}.get(method.reads, ())

    def spoilt(output):
        embedding = output.embedding * math.nan if "embedding" in hidden else output.embedding
        return Output(output.logits, (), (), embedding) if hidden else output

    outputs = [network(batch.images).float() for network in (method.student, method.teacher)]
    losses = method.losses if isinstance(method, Offline) else method._losses
    torch.manual_seed(4)
    whole = losses(*outputs, batch)
    torch.manual_seed(4)
    blind = losses(*map(spoilt, outputs), batch)
    assert whole.keys() == blind.keys()
    assert all(torch.equal(whole[name], blind[name]) for name in whole)


def test_no_step_waits_for_a_gpu(build, teacher, batch, parts, sync_ops):
    """Nothing of a GPU is read within a batch, and nothing is made elsewhere than where the batch is."""
    method = build(parts, teacher)
    elsewhere = torch.device("meta")  # of tensors for which no device is given; they cannot be computed with
    with sync_ops() as found, elsewhere:
        list(drive(method, batch))
    assert set(found) == set().union(*(WAITING.get(name, set()) for name in parts))


PLANTED = {
    "item": (lambda t: t.sum().item(), "_local_scalar_dense"),
    "float": (lambda t: float(t[0]), "_local_scalar_dense"),
    "if": (lambda t: 1 if t.sum() > 0 else 2, "_local_scalar_dense"),
    "tolist": (torch.Tensor.tolist, "tolist"),
    "cpu": (torch.Tensor.cpu, "cpu"),
    "mask": (lambda t: t[t > 0], "index"),
    "masked_select": (lambda t: t.masked_select(t > 0), "masked_select"),
    "where": (lambda t: torch.where(t > 0), "nonzero"),
    "unique": (torch.unique, "_unique2"),
    "equal": (lambda t: torch.equal(t, t), "equal"),
    "repeat": (lambda t: t.repeat_interleave(t.long()), "repeat_interleave"),
    "scatter": (lambda t: t.scatter(0, t.long(), t), "scatter"),
    "index_put": (lambda t: t.index_put_((t.long(),), t + 1), "index_put_"),
    "gather's gradient": (lambda t: t.requires_grad_().gather(0, t.long()).sum().backward(), "scatter_add"),
    "tensor": (lambda t: torch.tensor([1.0], device=t.device), "lift_fresh"),
    "send": (lambda t: t.to("meta"), "_to_copy"),
}


@pytest.mark.parametrize(("plant", "name"), PLANTED.values(), ids=PLANTED)
def test_what_waits_for_a_gpu_is_found(sync_ops, plant, name):
    tensor = torch.arange(4.0)
    with sync_ops() as found:
        plant(tensor)
    assert name in found


def test_what_is_made_on_the_host_is_found(batch):
    with torch.device("meta"), pytest.raises(RuntimeError, match="meta"):
        batch.labels + torch.arange(8)


def test_graduates_classify(build, teacher, batch, parts):
    method = build(parts, teacher)
    list(drive(method, batch))
    deployed = method.deployed()
    assert next(iter(deployed)) == "student"
    for network in deployed.values():
        with torch.no_grad():
            logits = network.eval()(batch.images).logits
        assert logits.shape == (8, 4)
        assert logits.isfinite().all()


def test_the_batch_is_not_written_to(build, teacher, batch, parts):
    tensors = {"images": batch.images, "labels": batch.labels, "indices": batch.indices}
    before = {name: (tensor.clone(), tensor._version) for name, tensor in tensors.items()}
    list(drive(build(parts, teacher), batch))
    for name, tensor in tensors.items():
        copy, version = before[name]
        assert torch.equal(tensor, copy), name
        assert tensor._version == version, name


def test_players_share_no_parameter(build, teacher, parts):
    players = build(parts, teacher).players()
    parameters = [p for player in players.values() for _, p in player.named_parameters(remove_duplicate=False)]
    assert "student" in players
    assert len({id(p) for p in parameters}) == len(parameters) > 0
    assert {id(p) for p in parameters}.isdisjoint(id(p) for p in teacher.parameters())


def test_only_named_players_get_optimizers_of_their_own(build, teacher, parts):
    method = build(parts, teacher)
    assert method.optimizers().keys() <= method.players().keys()


@every_method
def test_the_class_is_final_and_names_its_paper(method):
    assert "__final__" in vars(method)
    assert not inspect.isabstract(method)
    assert len(method.paper) > 10
    assert inspect.getdoc(method)


@every_method
def test_positional_arguments_are_roles(method):
    assert roles(method).keys() <= ROLES
    assert next(iter(roles(method))) == "student"


@every_method
def test_keyword_only_arguments_are_hyperparameters(method):
    kinds = {p.kind for p in inspect.signature(method).parameters.values()}
    assert kinds <= {inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY}
    for name, parameter in declared(method).items():
        assert not parameter.is_required, f"{name} has no default"
        assert parameter.validate(parameter.default) == parameter.default
        assert unbounded(parameter.annotation) == [], f"{name} is a number without bounds"


@every_method
def test_the_search_range_is_allowed(method):
    for parameter in declared(method).values():
        if parameter.tune is not None:
            assert parameter.validate(parameter.tune.low) < parameter.validate(parameter.tune.high)


def unbounded(annotation, bounds=()):
    """The numeric types inside an annotation that no `Ge`, `Gt`, `Le` or `Lt` applies to."""
    if get_origin(annotation) is Annotated:
        inner, *metadata = get_args(annotation)
        return unbounded(inner, [m for m in metadata if not isinstance(m, Tune)])
    if annotation in (int, float):
        return [] if any(hasattr(bound, key) for bound in bounds for key in ("ge", "gt", "le", "lt")) else [annotation]
    return [found for argument in get_args(annotation) for found in unbounded(argument)]


def test_unbounded_finds_what_it_looks_for():
    assert unbounded(float) == [float]
    assert unbounded(Annotated[float, Tune(0, 1)]) == [float]
    assert unbounded(tuple[int, ...] | None) == [int]
    assert unbounded(bool) == []
