"""Write a finished run into its folder: weights, history, predictions, result, log."""

import math
from collections.abc import Mapping
from typing import Any, final

import pyarrow.parquet as pq
import torch
from safetensors.torch import save
from torch import Tensor, nn

from kdbench.analysis import agreement, classification_metrics
from kdbench.data.run_images import count_steps
from kdbench.errors import NotFiniteError
from kdbench.matrix import RunSpec
from kdbench.matrix.identity import canonical, digest
from kdbench.results import Store
from kdbench.results.files import write_atomic, write_bytes
from kdbench.results.history import EPOCH_TYPES
from kdbench.results.integrity import HISTORY, WEIGHTS, checksums
from kdbench.results.predictions import BEST, STUDENT, Predictions, write_predictions
from kdbench.results.provenance import now, provenance
from kdbench.results.table import to_arrow
from kdbench.training.evaluation import compute_logits, count_flops, count_parameters, drop_probability_metrics
from kdbench.training.member import Member, States
from kdbench.training.network import Frozen
from kdbench.training.precision import uses_tf32
from kdbench.worker.build import Teachers
from kdbench.worker.cohort_data import CohortData, ImageSplit
from kdbench.worker.environment import device_name, processor_model
from kdbench.worker.method_recipe import describe_method_recipe
from kdbench.worker.options import Options
from kdbench.worker.peak_memory import peak_memory_mb
from kdbench.worker.probes import PROBE_LOGITS, probe_logits
from kdbench.worker.training_record import TrainingRecord, highest


@final
class RunWriter:
    """Evaluates and writes one run whose training succeeded.

    Args:
        spec: the run.
        member: the run after its training.
        data: the cohort's data.
        store: the results folder.
        device: where the run trained.
        options: how it trained.
        teachers: the teachers of its cohort.
    """

    def __init__(
        self,
        spec: RunSpec,
        member: Member,
        data: CohortData,
        store: Store,
        device: torch.device,
        options: Options,
        teachers: Teachers,
    ) -> None:
        self._spec = spec
        self._member = member
        self._data = data
        self._store = store
        self._device = device
        self._options = options
        self._teachers = teachers
        self._deployed = member.method.deployed()
        self._predictions: dict[str, Predictions] = {}  # on the test images, by the name of the network

    def write(self, record: TrainingRecord) -> None:
        """Score the weights of all selections, and write all files; the result last.

        Args:
            record: how the run was trained, in all its cohorts.

        Raises:
            StorageError: the folder cannot be written to.
            NotFiniteError: a deployed network's outputs are NaN or infinite.
        """
        row, others = self._evaluate_and_save()
        self._save_history()
        row |= self._costs() | {
            "peak_memory_mb": highest(record.peak_memory_mb, peak_memory_mb(self._device)),
            "train_seconds": self._member.seconds + record.shared_seconds,
            "epochs_run": len(self._member.history),
            "steps": len(self._member.history) * self._steps_per_epoch(),
            "student_steps": self._member.student_steps,
            "best_epoch": self._best_epoch(),
            "attempts": self._store.attempts(self._spec.id),
            **_provenance(self._spec, self._device, record),
            "compile": self._options.compile,
            "cuda_graphs": self._member.is_captured,
            "environment_changes": "; ".join(record.environment_changes) or None,
            "method_recipe": describe_method_recipe(self._member.method),
        }
        architecture = architecture_key(self._network, self._data.task.image_shape, self._spec)
        result = {"status": "done", "row": row, "architecture": architecture, "deployed": others}
        files = checksums(self._store.folder(self._spec.id))
        self._store.log(self._spec.id, f"done after {len(self._member.history)} epochs")
        self._store.write_result(self._spec.id, {**result, "files": files})

    def _evaluate_and_save(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Save weights and predictions, and return the scores of the run and of its other deployed networks.

        Early stopping keeps the weights of the best epoch, and a run without epochs has one set of weights: then every
        selection has the same scores.
        """
        last, best = self._member.deployed_weights(), self._member.best.weights
        keeps_best = bool(best) and self._spec.recipe.early_stopping is not None
        if keeps_best:
            self._load(best)
        self._save_weights(best if keeps_best else last)
        row = self._scores("")
        others = {name: self._other_scores(name) for name in list(self._deployed)[1:]}
        with_teacher = {"teacher_agreement": self._teacher_agreement()}
        if keeps_best or not self._spec.recipe.epochs:
            row |= self._repeated(row)
        else:
            if best:
                self._load(best)
                row |= self._scores("_best")
            row |= self._best_test()
        self._save_predictions()
        return row | with_teacher, others

    @property
    def _network(self) -> nn.Module:
        return next(iter(self._deployed.values()))

    def _metrics(self, network: nn.Module, images: ImageSplit, name: str) -> dict[str, float]:
        """Return the scores of a network; if the images are those of the test, keep its predictions under `name`."""
        logits, labels = self._logits(network, images), images.labels.cpu()
        values = classification_metrics(logits, labels)
        if not all(map(math.isfinite, values.values())):
            raise NotFiniteError(
                "the trained network's outputs are NaN or infinite; lower the learning rate or the weights of the "
                "method's terms, or set recipe.grad_clip_norm"
            )
        if images is self._data.test:
            self._predictions[name] = Predictions.from_logits(logits.numpy(), labels.numpy())
        return values if self._member.method.calibrated else drop_probability_metrics(values)

    def _logits(self, network: nn.Module, images: ImageSplit) -> Tensor:
        return compute_logits(network, images.batches())

    def _scores(self, suffix: str) -> dict[str, Any]:
        sets = {"val": self._data.validation, "test": self._data.test}
        network = BEST if suffix else STUDENT
        return {
            f"{name}_{metric}{suffix}": value
            for name, images in sets.items()
            if len(images.labels)
            for metric, value in self._metrics(self._network, images, network).items()
        }

    def _best_test(self) -> dict[str, Any]:
        """Return the scores of the best test epoch, if the protocol tracks test scores: an optimistic selection."""
        tracked = [epoch for epoch in self._member.history if "test_accuracy" in epoch]
        if not tracked:
            return {}
        best = max(tracked, key=lambda epoch: float(epoch["test_accuracy"] or 0))
        return {f"{key}_best_test": value for key, value in best.items() if key.startswith(("val_", "test_"))}

    def _repeated(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Return the scores of the only weights of a run under the other selections."""
        suffixes = ["_best"] * self._has_validation + ["_best_test"] * self._spec.split.track_test
        return {f"{key}{suffix}": value for suffix in suffixes for key, value in row.items()}

    def _steps_per_epoch(self) -> int:
        reads_images = self._member.method.data == "train"
        return count_steps(self._spec.recipe, self._data.task.train_size, reads_images)

    def _best_epoch(self) -> int | None:
        if not self._spec.recipe.epochs:
            return 0 if self._has_validation else None
        return self._member.best.epoch if self._member.best.weights else None

    @property
    def _has_validation(self) -> bool:
        return len(self._data.validation.labels) > 0

    def _other_scores(self, name: str) -> dict[str, Any]:
        """Return the scores of a deployed network other than the first, such as a peer or an ensemble."""
        network = self._deployed[name]
        scores = self._metrics(network, self._data.test, name)
        return {**{f"test_{key}": value for key, value in scores.items()}, "parameters": count_parameters(network)}

    def _teacher_agreement(self) -> float | None:
        """Return the fraction of test images on which the student and a teacher of the matrix predict the same class.

        None if the role `teacher` is empty or another run fills it, such as an earlier generation of the student.
        """
        teacher, spec = getattr(self._member.method, "teacher", None), self._spec.teacher
        if not isinstance(teacher, Frozen) or spec is None or spec.stream != "teacher":
            return None
        return agreement(self._predictions[STUDENT].predicted, self._teachers.predict(teacher, self._data.test))

    def _load(self, weights: States) -> None:
        for name, network in self._deployed.items():
            network.load_state_dict(weights[name])

    def _costs(self) -> dict[str, Any]:
        players = self._member.method.players().values()
        return {
            "parameters": count_parameters(self._network),
            "parameters_training": sum(count_parameters(player) for player in players),
            "flops": count_flops(self._network, self._data.task.image_shape),
        }

    def _save_weights(self, weights: States) -> None:
        """Save weights, and the logits of the first deployed network with them on the probe images."""
        self._load(weights)
        flat = {
            f"{name}.{key}": value.cpu().contiguous() for name, state in weights.items() for key, value in state.items()
        }
        flat[PROBE_LOGITS] = probe_logits(self._network, self._data.test)
        write_bytes(self._store.folder(self._spec.id) / WEIGHTS, save(flat))  # save_file hides the errors of the disk

    def _save_history(self) -> None:
        table = to_arrow(self._member.history, EPOCH_TYPES)
        write_atomic(self._store.folder(self._spec.id) / HISTORY, lambda path: pq.write_table(table, path))

    def _save_predictions(self) -> None:
        """Save those of the saved weights as "student", and those of the best validation epoch if it is another."""
        networks = dict(self._predictions)
        if self._member.best.epoch == len(self._member.history):
            networks.pop(BEST, None)
        write_predictions(self._store, self._spec.id, networks)


def write_failure(store: Store, spec: RunSpec, reason: str, trace: str, started: str) -> None:
    """Write the error of a run that fails again whenever it is trained."""
    store.log(spec.id, trace)
    row = {"attempts": store.attempts(spec.id), "started": started, "finished": now(), **provenance()}
    store.write_result(spec.id, {"status": "failed", "error": reason, "row": row})


def architecture_key(network: nn.Module, image_shape: tuple[int, int, int], spec: RunSpec) -> str:
    """Return a hash that is equal for deployed networks with the same inference time in one environment."""
    tensors = [f"{name}{tuple(value.shape)}" for name, value in network.state_dict().items()]
    sources = sorted({one.source for one in (spec.student, *spec.peers) if one.source})  # its forward pass may change
    return digest(canonical([repr(network), tensors, image_shape, sources, spec.numerics]))


def _provenance(spec: RunSpec, device: torch.device, record: TrainingRecord) -> Mapping[str, Any]:
    return {
        **provenance(),
        "device": device_name(device),
        "processor": processor_model(device),
        "precision": spec.recipe.precision,
        "tf32": uses_tf32(spec.recipe.precision),
        "threads": torch.get_num_threads(),
        "cohort_size": record.cohort_size,
        "started": record.started,
        "finished": now(),
    }
