"""The contract of `kdbench.Method` as one function, `check_method`."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from kdbench.errors import KdbenchError
from kdbench.methods import find
from kdbench.methods.offline import Offline
from kdbench.testing.declaration import check_class, check_signature
from kdbench.testing.drive import PROGRESS, Subject, drive, recipe, train, weights
from kdbench.testing.networks import TASK, random_batch, tiny_teacher
from kdbench.testing.requirement import require, require_equal
from kdbench.testing.sync_ops import record_sync_ops
from kdbench.training.checkpoint import from_bytes, to_bytes
from kdbench.training.member import Member
from kdbench.training.method import Method, Output
from kdbench.training.network import Frozen
from kdbench.training.threads import one_thread


def check_method(
    method: str | type[Method] | Sequence[str],
    *,
    parameters: Mapping[str, Mapping[str, object]] | None = None,
    **hyperparameters: object,
) -> None:
    """Check that a method satisfies the contract of `kdbench.Method`.

    The method trains for some steps on tiny networks (stages of 8x8, 4x4 and 2x2 pixels) and eight random images
    (3, 8, 8) of four classes, on the CPU, in float32 and bfloat16. It takes about a second.

    Args:
        method: a class, a name as in a matrix, or the names of a sum.
        parameters: the hyperparameters of a sum, by name.
        **hyperparameters: those of a single method; every other one has its default.

    Raises:
        AssertionError: a rule is broken; the text states the rule and what was found.
    """
    label = method.__name__ if isinstance(method, type) else method if isinstance(method, str) else " + ".join(method)
    name = method.__name__ if isinstance(method, type) else method
    given = {name: hyperparameters} if isinstance(name, str) else {}
    try:
        for one in [method] if isinstance(method, str | type) else method:
            found = one if isinstance(one, type) else find(one)
            check_class(found)
            check_signature(found)
        for check in CHECKS:
            with torch.random.fork_rng(devices=[]), one_thread():
                check(Subject(method, parameters or given))
    except (AssertionError, KdbenchError) as error:
        raise AssertionError(f"{label}: {error}") from error


def check_losses(subject: Subject) -> None:
    """Require a step for every batch, with losses that are finite scalars in float32, with and without autocast."""
    for bf16 in (False, True):
        steps = [taken.step for taken in drive(subject.build(), bf16=bf16)]
        require(len(steps) >= len(PROGRESS), "steps() must yield at least one step per batch")
        for term, loss in [item for step in steps for item in step.losses.items()]:
            under = " under bfloat16 autocast" if bf16 else ""
            hint = "; compute it in float32, and declare in `reads` what it uses" if bf16 else ""
            require(loss.dtype == torch.float32, f"the loss '{term}' must be float32{under}, got {loss.dtype}{hint}")
            require(bool(loss.isfinite()), f"the loss '{term}' must be finite{under}, got {loss.item()}")


def check_players(subject: Subject) -> None:
    """Require a player "student", and players that share no parameter with one another or with the teacher."""
    teacher = tiny_teacher()
    method = subject.build(teacher)
    players = method.players()
    require("student" in players, f"players() must have the key 'student', got {list(players)}")
    owners: dict[int, str] = {id(p): "the teacher" for p in teacher.parameters()}
    for name, player in players.items():
        for key, parameter in player.named_parameters(remove_duplicate=False):
            require(id(parameter) not in owners, f"{name}.{key} is also a parameter of {owners.get(id(parameter))}")
            owners[id(parameter)] = f"player '{name}'"
    left = [key for key, p in method.named_parameters() if p.requires_grad and id(p) not in owners]
    require(not left, f"every parameter to train must belong to a player, got {', '.join(left)} in none")
    unknown = [name for name in method.optimizers() if name not in players]
    require(not unknown, f"optimizers() must have keys of players() {list(players)}, got {', '.join(unknown)}")


def check_steps(subject: Subject) -> None:
    """Require that a step moves its own player alone, and that every parameter of every player is trained."""
    method = subject.build()
    players, trained = method.players(), set[int]()
    before = {name: weights({name: nn.ParameterList(player.parameters())}) for name, player in players.items()}
    for taken in drive(method):
        trained.update(map(id, taken.gradients))
        for name, player in players.items():
            now = weights({name: nn.ParameterList(player.parameters())})
            if name != taken.step.player:
                require_equal(before[name], now, f"a step of '{taken.step.player}' must not move '{name}'")
            before[name] = now
    for name, player in players.items():
        idle = [key for key, parameter in player.named_parameters() if id(parameter) not in trained]
        require(
            not idle, f"every parameter of a player must get a gradient in some step; '{name}' has {', '.join(idle)}"
        )


def check_teacher(subject: Subject) -> None:
    """Require that the teacher keeps its weights and running statistics, and stays in eval mode."""
    for bf16 in (False, True):
        teacher = tiny_teacher()
        before, method = weights({"teacher": teacher}), subject.build(teacher)
        list(drive(method, bf16=bf16))
        method.train()
        require_equal(before, weights({"teacher": teacher}), "the teacher must not change")
        frozen = {module for holder in method.modules() if isinstance(holder, Frozen) for module in holder.modules()}
        require(not any(module.training for module in frozen), "frozen networks must stay in eval mode")
        require(
            set(method.modules()).isdisjoint(set(teacher.modules()) - frozen),
            "the teacher must be frozen: self.teacher = Frozen.of(teacher)",
        )


def check_batch(subject: Subject) -> None:
    """Require that nothing is written to the batch."""
    method = subject.build()
    batch = random_batch(method.views)
    tensors = {"images": batch.images, "labels": batch.labels, "indices": batch.indices}
    before = {name: (tensor.clone(), tensor._version) for name, tensor in tensors.items()}
    for share in PROGRESS:
        list(method.steps(replace(batch, progress=share)))
    for name, tensor in tensors.items():
        copy, version = before[name]
        require(torch.equal(tensor, copy) and tensor._version == version, f"steps() must not write to batch.{name}")


def check_deployed(subject: Subject) -> None:
    """Require that the deployed networks classify, the student first."""
    method = subject.build()
    list(drive(method))
    deployed = method.deployed()
    require(next(iter(deployed), None) == "student", f"deployed() must list 'student' first, got {list(deployed)}")
    require("best" not in deployed, "deployed() must not use the name 'best', that of the best validation epoch")
    for name, network in deployed.items():
        with torch.no_grad():
            logits = network.eval()(random_batch().images).logits
        expected = (TASK.batch_size, TASK.num_classes)
        require(tuple(logits.shape) == expected, f"'{name}' must give logits {expected}, got {tuple(logits.shape)}")
        require(bool(logits.isfinite().all()), f"'{name}' must give finite logits")


def check_repeatable(subject: Subject) -> None:
    """Require that equal seeds give equal weights, even if the state is saved and loaded in between."""
    complete, repeated, interrupted, resumed = (subject.build() for _ in range(4))
    for method, progress in ((complete, PROGRESS), (repeated, PROGRESS), (interrupted, PROGRESS[:3])):
        torch.manual_seed(6)
        list(drive(method, progress))
    resumed.load_state_dict(interrupted.state_dict())
    list(drive(resumed, PROGRESS[3:]))
    require_equal(weights(complete.players()), weights(repeated.players()), "the same seed must give the same weights")
    rule = (
        "state_dict() must hold all state of a method, so that training after load_state_dict() gives the same weights "
        "(keep tensors as buffers, and other state by get_extra_state and set_extra_state)"
    )
    require_equal(weights(complete.players()), weights(resumed.players()), rule)


def check_cohort(subject: Subject) -> None:
    """Require the same weights alone and beside other methods, which share the teacher and its outputs."""
    others = [Subject("vanilla"), Subject("zskt", {"zskt": {"student_steps": 1}})]
    for precision in ("fp32", "bf16"):
        teachers = [Frozen(tiny_teacher()) for _ in range(2)]
        alone = _members([subject], teachers[0], 2, precision)
        beside = _members([others[0], subject, others[1]], teachers[1], 2, precision)
        for members, teacher in zip((alone, beside), teachers, strict=True):
            train(members, [teacher], last=2)
        rule = "a method must train to the same weights alone and beside others, and not write to the teacher's outputs"
        require_equal(weights(alone[0].method.players()), weights(beside[1].method.players()), rule)


def check_resume(subject: Subject) -> None:
    """Require that a run that changes its worker, from a checkpoint, has the same numbers, alone and beside others.

    It and a run of `vanilla` train for four epochs. After each epoch one of the two is given away to another worker.
    """
    for precision in ("fp32", "bf16"):
        complete = _members([subject], Frozen(tiny_teacher()), 4, precision)
        train(complete, _shared(complete[0]), last=4)
        changed = _train_on_four_workers(subject, precision)
        rule = "a run resumed from a checkpoint must equal an undisturbed one"
        require_equal(_networks(complete[0].method), _networks(changed.method), rule)


def _train_on_four_workers(subject: Subject, precision: str) -> Member:
    """Train for four epochs: beside another run, alone, beside another run, and alone; return the member."""

    def resume(subjects: Sequence[Subject], given: Sequence[Member]) -> tuple[list[Member], list[Frozen]]:
        teacher = Frozen(tiny_teacher())
        members = _members(subjects, teacher, 4, precision)
        torch.manual_seed(99)
        for member, other in zip(members, given, strict=False):
            member.load_state_dict(from_bytes(to_bytes(other.state_dict(_shared(other)))), _shared(member))
        return members, [teacher]

    other = Subject("vanilla")
    first, teachers = resume([other, subject], [])
    train(first, teachers, last=2, leaving={first[0]: 1})
    second, teachers = resume([other], first[:1])
    train(second, teachers, first=1, last=2)
    third, teachers = resume([other, subject], [second[0], first[1]])
    train(third, teachers, first=2, last=4, leaving={third[1]: 3})
    fourth, teachers = resume([subject], third[1:])
    train(fourth, teachers, first=3, last=4)
    return fourth[0]


def _members(subjects: Sequence[Subject], teacher: Frozen, epochs: int, precision: str) -> list[Member]:
    return [Member("", one.build(teacher), recipe(epochs, precision), seed=1) for one in subjects]


def _networks(method: Method) -> dict[str, Tensor]:
    return weights({**method.players(), **{f"deployed {name}": one for name, one in method.deployed().items()}})


def _shared(member: Member) -> list[Frozen]:
    teacher = getattr(member.method, "teacher", None)
    return [teacher] if isinstance(teacher, Frozen) else []


def check_reads(subject: Subject) -> None:
    """Require that the losses use only the fields of the outputs that `reads` declares."""
    method = subject.build()
    if not isinstance(method, Offline) or method.reads in ("maps", "all"):
        return
    batch, is_embedding_read = random_batch(method.views), method.reads == "embedding"

    def without(output: Output) -> Output:
        return Output(output.logits, (), (), output.embedding if is_embedding_read else output.embedding * math.nan)

    def losses(change: Callable[[Output], Output]) -> dict[str, Tensor]:
        torch.manual_seed(4)
        return method.losses(change(student), change(teacher), batch)

    student, teacher = (network(batch.images).float() for network in (method.student, method.teacher))
    complete = losses(lambda output: output)
    rule = f'losses() must use only the fields that reads = "{method.reads}" declares'
    try:
        partial = losses(without)
    except Exception as error:
        raise AssertionError(f"{rule}; without the others it raises {error!r}") from error
    require_equal(complete, partial, rule)


def check_device(subject: Subject) -> None:
    """Require tensors on the batch's device, and no wait for the GPU in a method that is `cuda_graph_safe`."""
    method = subject.build()
    syncs = find_sync_ops(method)
    require(
        not (syncs and method.cuda_graph_safe),
        f"a method with cuda_graph_safe = True must not wait for the GPU, got {', '.join(sorted(syncs))}",
    )


def find_sync_ops(method: Method) -> set[str]:
    """Return the operations of the steps for which the host waits for a GPU.

    Raises:
        AssertionError: a tensor is created without the batch's device.
    """
    try:
        with record_sync_ops() as found, torch.device("meta"):  # where tensors go for which no device is given
            list(drive(method))
    except (RuntimeError, NotImplementedError) as error:
        raise AssertionError(f"tensors must be created with device=batch.images.device: {error}") from error
    return set(found)


CHECKS = (
    check_batch,
    check_losses,
    check_players,
    check_steps,
    check_teacher,
    check_deployed,
    check_repeatable,
    check_cohort,
    check_resume,
    check_reads,
    check_device,
)
