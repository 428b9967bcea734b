"""A run's networks and its method, from its spec; initial weights are drawn from streams of the run's seed."""

from collections.abc import Callable, Mapping
from typing import final

import torch
from safetensors.torch import load_file
from torch import nn

from kdbench import methods, models
from kdbench.errors import CorruptedError, ResultsError
from kdbench.matrix import RunSpec
from kdbench.results import Store
from kdbench.results.integrity import WEIGHTS, file_corruption
from kdbench.training.method import Method, Task
from kdbench.training.network import Frozen, to_device
from kdbench.training.randomness import seeded

VARIANTS = 64  # of one kind of network, that a cohort may have compiled: depths, precisions, with and without gradients


def build_method(
    spec: RunSpec, task: Task, device: torch.device, teacher_of: Callable[[RunSpec], Frozen], compiled: bool = False
) -> Method:
    """The method of a run with all its roles filled; `compiled`: its own networks train through torch.compile.

    The student's first weights depend on the seed alone, never on the method, so that methods are compared in pairs;
    those that it does not draw are the ones of its file or library.

    Raises:
        NetworkError: the weights that a network starts from are not there, have changed, or do not fit.
    """
    with seeded(spec.seed, "student"):
        student = models.build_with_weights(spec.student, task)
    peers = []
    for place, peer in enumerate(spec.peers):
        with seeded(spec.seed, "peer", place):
            peers.append(prepare(models.build_with_weights(peer, task), device, compiled))
    needs = dict(spec.needs)
    teacher = teacher_of(needs["teacher"]) if "teacher" in needs else None
    older = [teacher_of(needs[role]) for role in sorted(needs, key=_place) if role.startswith("teachers.")]
    with seeded(spec.seed, "method"):
        built = methods.create(
            [part.name for part in spec.parts],
            student=prepare(student, device, compiled),
            teacher=teacher,
            teachers=older,
            peers=peers,
            task=task,
            parameters={part.name: dict(part.hyperparameters) for part in spec.parts},
        )
    return to_device(built, device)


def prepare(network: nn.Module, device: torch.device, compiled: bool) -> nn.Module:
    """A network on its device, in the layout in which it is fastest; `compiled`: it trains through torch.compile."""
    if compiled:
        torch._dynamo.config.recompile_limit = VARIANTS
        network.compile(dynamic=False)
    return to_device(network, device)


def _place(role: str) -> int:
    return int(role.rpartition(".")[2]) if role.startswith("teachers.") else -1


@final
class Teachers:
    """Finished runs on a cohort's data set as frozen networks, each loaded once and shared by the whole cohort."""

    def __init__(self, store: Store, task: Task, device: torch.device, compiled: bool = False) -> None:
        self._store = store
        self._task = task
        self._device = device
        self._compiled = compiled
        self._loaded: dict[str, Frozen] = {}

    @property
    def loaded(self) -> frozenset[Frozen]:
        """All that have been asked for."""
        return frozenset(self._loaded.values())

    def __call__(self, spec: RunSpec) -> Frozen:
        """The trained network of a run.

        Raises:
            CorruptedError: its weights are corrupted; the run was moved to the quarantine and is pending again.
        """
        if spec.id not in self._loaded:
            built = models.build_from_spec(spec.student, self._task)
            built.load_state_dict(self._weights(spec.id))
            self._loaded[spec.id] = Frozen(prepare(built, self._device, self._compiled))
        return self._loaded[spec.id]

    def _weights(self, run_id: str) -> Mapping[str, torch.Tensor]:
        result = self._store.result(run_id)
        if result is None:
            raise CorruptedError(f"the run {run_id} is no longer finished; runs that need it are pending")
        checksum = result.get("files", {}).get(WEIGHTS)
        reason = file_corruption(self._store.folder(run_id) / WEIGHTS, checksum, deep=True)
        try:
            if reason is None:
                return trained_weights(self._store, run_id)
        except ResultsError as error:
            reason = str(error)
        quarantined = dict(self._store.quarantine_corrupted([run_id], deep=True)).get(run_id)
        found = quarantined or f"corrupted ({reason}), and another process retrains it"
        raise CorruptedError(f"the run {run_id} is {found}; runs that need it are pending")


def trained_weights(store: Store, run_id: str) -> Mapping[str, torch.Tensor]:
    """The student's weights of a finished run.

    Raises:
        ResultsError: they are not there or corrupted.
    """
    path = store.folder(run_id) / WEIGHTS
    try:
        weights = load_file(path)
    except Exception as error:  # safetensors raises its own error type, and OSError
        raise ResultsError(
            f"{path}: cannot be read ({error}); run `kdbench reindex --deep`, then run the matrix again"
        ) from error
    return {key.removeprefix("student."): value for key, value in weights.items() if key.startswith("student.")}
