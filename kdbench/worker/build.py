"""Build the networks and the method of a run; random weights are derived from the run's seed."""

from collections.abc import Callable, Mapping
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load
from torch import nn

from kdbench import methods, models
from kdbench.analysis import predicted_classes
from kdbench.errors import CorruptedError, ResultsError, StorageError, TrainingError
from kdbench.matrix import RunSpec
from kdbench.results import Store
from kdbench.results.integrity import WEIGHTS, file_corruption
from kdbench.results.regular_files import read_regular
from kdbench.training.evaluation import compute_logits
from kdbench.training.method import Method, Task
from kdbench.training.network import Frozen, to_device
from kdbench.training.randomness import seeded
from kdbench.worker.cohort_data import ImageSplit
from kdbench.worker.probes import PROBE_LOGITS, describe_mismatch, logits_difference, probe_logits

MAX_WEIGHTS = 2**36  # bytes
RECOMPILE_LIMIT = 64  # variants of a network per cohort: depths, precisions, with and without gradients


def build_method(
    spec: RunSpec, task: Task, device: torch.device, teacher_of: Callable[[RunSpec], Frozen], compiled: bool = False
) -> Method:
    """Return the method of a run with all its roles filled.

    The student's random weights depend on the seed but not on the method, so that comparisons of methods are paired.
    Weights from a file or a library are loaded.

    Args:
        spec: the run.
        task: its task.
        device: the device it trains on.
        teacher_of: returns the trained network of a run.
        compiled: whether the networks that train do so through torch.compile.

    Raises:
        NetworkError: initial weights are missing, have changed, or do not fit.
        TrainingError: the user's own code has changed since the run was planned.
    """
    check_sources(spec)
    with seeded(spec.stream_seed, "student"):
        student = models.build_with_weights(spec.student, task)
    peers = []
    for index, peer in enumerate(spec.peers):
        with seeded(spec.stream_seed, "peer", index):
            peers.append(prepare(models.build_with_weights(peer, task), device, compiled))
    needs = dict(spec.needs)
    teacher = teacher_of(needs["teacher"]) if "teacher" in needs else None
    teachers = [teacher_of(needs[role]) for role in sorted(needs, key=_index) if role.startswith("teachers.")]
    with seeded(spec.stream_seed, "method"):
        method = methods.create(
            [part.name for part in spec.parts],
            student=prepare(student, device, compiled),
            teacher=teacher,
            teachers=teachers,
            peers=peers,
            task=task,
            parameters={part.name: dict(part.hyperparameters) for part in spec.parts},
        )
    return to_device(method, device)


def check_sources(spec: RunSpec) -> None:
    """Check that the user's own methods and networks are those that the run was planned with.

    Raises:
        TrainingError: their source has changed.
    """
    parts = [(f"method '{p.name}'", p.source, methods.source_hash(p.name)) for p in spec.parts if p.source]
    networks = [
        (f"network '{n.name}'", n.source, models.source_hash(n.factory))
        for n in (spec.student, *spec.peers)
        if n.factory
    ]
    for what, planned, found in parts + networks:
        if found != planned:
            raise TrainingError(
                f"the source of {what} has changed since the run {spec.id} was planned: its hash is {found}, but must "
                f"be {planned}; run the matrix again to train with the new source, or restore the files"
            )


def prepare(network: nn.Module, device: torch.device, compiled: bool) -> nn.Module:
    """Move a network to a device in the channels-last memory format; `compiled` sets it up for torch.compile."""
    if compiled:
        torch._dynamo.config.recompile_limit = RECOMPILE_LIMIT
        network.compile(dynamic=False)
    return to_device(network, device)


def _index(role: str) -> int:
    return int(role.rpartition(".")[2]) if role.startswith("teachers.") else -1


@final
class Teachers:
    """The trained networks of finished runs, each loaded once, frozen, and shared by the cohort.

    Args:
        store: the results folder.
        task: the task of the cohort.
        device: where the networks run.
        compiled: whether they run through torch.compile.
        test: the test images, on which a loaded network is compared with the end of its training; None: it is not.
    """

    def __init__(
        self,
        store: Store,
        task: Task,
        device: torch.device,
        compiled: bool = False,
        test: ImageSplit | None = None,
    ) -> None:
        self._store = store
        self._task = task
        self._device = device
        self._compiled = compiled
        self._test = test
        self._loaded: dict[str, Frozen] = {}
        self._predicted: dict[Frozen, NDArray[np.int64]] = {}

    @property
    def loaded(self) -> frozenset[Frozen]:
        """The networks that have been loaded."""
        return frozenset(self._loaded.values())

    def predict(self, teacher: Frozen, test: ImageSplit) -> NDArray[np.int64]:
        """Return the classes (N,) that a teacher predicts on the test images; computed once for all its students."""
        if teacher not in self._predicted:
            self._predicted[teacher] = predicted_classes(compute_logits(teacher, test.batches()))
        return self._predicted[teacher]

    def __call__(self, spec: RunSpec) -> Frozen:
        """Return the trained network of a run.

        Raises:
            CorruptedError: the run is not finished, or its weights are corrupted; then it is quarantined and pending.
            TrainingError: the user's own network has changed since the run was planned, or with kdbench as it is now
                the network is another one than at the end of its training.
        """
        if spec.id not in self._loaded:
            check_sources(spec)
            self._loaded[spec.id] = Frozen(self._load(spec))
        return self._loaded[spec.id]

    def _load(self, spec: RunSpec) -> nn.Module:
        result = self._store.result(spec.id)
        if result is None:
            raise CorruptedError(f"the run {spec.id} is no longer finished; runs that need it are pending")
        stored = self._read(spec.id, result)
        network = models.build_from_spec(spec.student, self._task)
        difference = None
        try:
            network.load_state_dict(student_weights(stored))
        except RuntimeError as error:  # other layers
            difference = f"its weights do not fit ({' '.join(str(error).split())})"
        network = prepare(network, self._device, self._compiled)
        if difference is None and self._test is not None:
            difference = logits_difference(probe_logits(network, self._test), stored.get(PROBE_LOGITS))
        if difference is not None:
            folder = self._store.folder(spec.id)
            raise TrainingError(describe_mismatch(spec, result.get("row", {}), folder, difference))
        return network

    def _read(self, run_id: str, result: Mapping[str, Any]) -> Mapping[str, torch.Tensor]:
        """Return all tensors in the file of the weights."""
        checksum = result.get("files", {}).get(WEIGHTS)
        reason = file_corruption(self._store.folder(run_id) / WEIGHTS, checksum, deep=True)
        try:
            if reason is None:
                return read_weights(self._store, run_id)
        except ResultsError as error:
            reason = str(error)
        quarantined = dict(self._store.quarantine_corrupted([run_id], deep=True)).get(run_id)
        state = quarantined or f"corrupted ({reason}), and another process retrains it"
        raise CorruptedError(f"the run {run_id} is {state}; runs that need it are pending")


def load_trained_weights(store: Store, run_id: str) -> Mapping[str, torch.Tensor]:
    """Return the state dict of a finished run's student.

    Raises:
        ResultsError: the file of the weights is missing or corrupted.
    """
    return student_weights(read_weights(store, run_id))


def read_weights(store: Store, run_id: str) -> Mapping[str, torch.Tensor]:
    """Return the weights of all deployed networks of a finished run, and its logits on the probe images.

    Raises:
        ResultsError: the file of the weights is missing or corrupted.
    """
    path = store.folder(run_id) / WEIGHTS
    try:
        return load(read_regular(path, MAX_WEIGHTS))  # a file in mapped memory ends the process if the disk fails
    except StorageError:
        raise
    except Exception as error:  # safetensors raises its own error type, and OSError
        raise ResultsError(
            f"{path}: cannot be read ({error}); run `kdbench reindex --deep`, then run the matrix again"
        ) from error


def student_weights(stored: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the state dict of the student among the weights of a run."""
    return {key.removeprefix("student."): value for key, value in stored.items() if key.startswith("student.")}
