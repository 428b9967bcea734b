"""Train a cohort: runs that see the same batches, side by side, each with its own result."""

import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import final

import torch

from kdbench.analysis import classification_metrics
from kdbench.errors import CorruptedError, KdbenchError, ResultsError
from kdbench.events import EpochEnded, EventHandler, RunDone, RunFailed, WarningIssued
from kdbench.matrix import RunSpec
from kdbench.results import Store
from kdbench.results.integrity import WEIGHTS
from kdbench.results.provenance import now
from kdbench.results.storage_errors import as_storage_error
from kdbench.training.cuda_graphs import GraphRecorder, make_recorder
from kdbench.training.evaluation import compute_logits
from kdbench.training.loop import CohortLoop
from kdbench.training.member import Member
from kdbench.training.memory import is_out_of_memory
from kdbench.training.network import Frozen
from kdbench.training.precision import check_device
from kdbench.training.static_batches import GraphedTeacher, StaticBatches
from kdbench.worker.build import Teachers, build_method
from kdbench.worker.checkpoints import Checkpoints
from kdbench.worker.claimed_runs import ClaimedRuns
from kdbench.worker.cohort_data import CohortData, load_cohort_data, make_batches
from kdbench.worker.epoch_clock import EpochClock, EpochTime
from kdbench.worker.memory import check_memory
from kdbench.worker.options import Options
from kdbench.worker.peak_memory import peak_memory_mb, reset_peak_memory
from kdbench.worker.run_writer import RunWriter, write_failure
from kdbench.worker.teacher_cache import TeacherCache, cache_key, fields_read, open_cache
from kdbench.worker.training_record import TrainingRecord


@final
class CohortWorker:
    """Trains one cohort on one device, from specs to results.

    Args:
        specs: the runs of the cohort.
        store: the results folder.
        device: where to train.
        on_event: called with `EpochEnded`, `RunDone`, `RunFailed`, `WarningIssued` and the events of checkpoints.
        options: how to train.
        claims: the claimed runs of the job, some of which may be given away; None: no run is.
    """

    def __init__(
        self,
        specs: Sequence[RunSpec],
        store: Store,
        device: torch.device,
        on_event: EventHandler,
        options: Options | None = None,
        claims: ClaimedRuns | None = None,
    ) -> None:
        self._specs = {spec.id: spec for spec in specs}
        self._store = store
        self._device = device
        self._emit = on_event
        self._options = options or Options()
        self._claims = claims or ClaimedRuns(0, store, on_event)
        self._started = now()
        self._first = specs[0]
        self._epochs = self._first.recipe.epochs

    def train(self) -> None:
        """Train all runs, from their checkpoints if there are any. A run that fails does not stop the others.

        Raises:
            StorageError: the results folder cannot be read or written, or a run fails for such a reason.
            KdbenchError: the device does not have the precision of the runs.
            MemoryError, RuntimeError: out of memory; checkpoints and finished runs are kept.
        """
        check_device(self._first.recipe.precision, self._device)
        reset_peak_memory(self._device)
        data = load_cohort_data(self._first, self._device)
        if self._options.compile:
            torch.compiler.reset()  # drop what earlier cohorts compiled: the number of variants is limited
        self._teachers = Teachers(self._store, data.task, self._device, self._options.compile, data.test)
        members: list[Member] = []
        for spec in self._specs.values():
            member = self._make_member(spec, data)
            if member is not None and not members:
                check_memory(member, len(self._specs), self._device)
            members += [member] if member is not None else []
        self._checkpoints = Checkpoints(self._store, self._options, self._teachers.loaded, self._emit)
        by_epoch: dict[int, list[Member]] = {}
        for member in members:
            by_epoch.setdefault(self._checkpoints.resume(member), []).append(member)
        for epoch, group in sorted(by_epoch.items()):
            left = [member for member in group if not self._claims.is_given_away(member.name)]
            if left:
                self._train_group(left, epoch, data)

    def _make_member(self, spec: RunSpec, data: CohortData) -> Member | None:
        """Return a run that is ready to train, or None if it cannot be built or its teacher must be trained again."""
        self._store.write_spec(spec)
        try:
            method = build_method(spec, data.task, self._device, self._teachers, self._options.compile)
            return Member(spec.id, method, spec.recipe, spec.stream_seed, self._make_recorder())
        except CorruptedError as error:
            self._emit(WarningIssued(str(error), spec.id))
            return None
        except Exception as error:  # a custom network or method may raise anything
            if is_out_of_memory(error):
                raise
            self.fail(spec, error)
            return None

    def _train_group(self, members: list[Member], first: int, data: CohortData) -> None:
        """Train members that continue with the same epoch, counted from 0."""
        size = len(members)

        def record(member: Member) -> TrainingRecord:
            shared = loop.shared_seconds(member)
            current = TrainingRecord(self._started, shared, size, peak_memory_mb(self._device))
            return self._checkpoints.add_earlier(member, current)

        def on_epoch_end(epoch: int, active: Sequence[Member]) -> None:
            self._emit_epoch(epoch, active, clock.end_epoch(active))
            ended = [member for member in active if not member.is_training or epoch + 1 == self._epochs]
            for member in ended:
                self._finish(member, data, record(member))
            others = [member for member in active if member not in ended]
            leaving = self._give_away(others, epoch + 1, record)
            loop.drop(leaving)
            left = [member for member in others if member not in leaving]
            self._checkpoints.save_if_due(left, epoch + 1, record)
            clock.start_epoch()

        loop = self._make_loop(members, data, on_epoch_end)
        clock = EpochClock(members, loop.own_seconds)
        loop.train(self._epochs, first)
        if not self._epochs:
            for member in members:
                self._finish(member, data, record(member))

    def _give_away(
        self, training: Sequence[Member], epochs: int, record: Callable[[Member], TrainingRecord]
    ) -> list[Member]:
        """Give away the runs that are requested; return the members among them, which have trained for `epochs`."""
        requested = self._claims.requested()
        leaving = [member for member in training if member.name in requested]
        if leaving:
            self._checkpoints.save(leaving, epochs, record)
            self._claims.give_away([member.name for member in leaving], epochs)
        self._claims.give_away_waiting(requested - {member.name for member in leaving})
        return leaving

    def _make_loop(
        self, members: list[Member], data: CohortData, on_epoch_end: Callable[[int, Sequence[Member]], None]
    ) -> CohortLoop:
        reads_images = any(member.method.data == "train" for member in members)
        batches = make_batches(self._first, data, max(member.method.views for member in members), reads_images)
        teachers = self._shared_teachers(members) if reads_images else {}
        uses_graphs = any(member.uses_cuda_graph for member in members)
        return CohortLoop(
            members,
            StaticBatches(batches) if uses_graphs else batches,
            list(teachers),
            lambda member: self._evaluate(member, data),
            on_epoch_end,
            self._graphed_teachers(teachers)
            if uses_graphs
            else self._teacher_caches(teachers, members, batches.steps_per_epoch),
        )

    def _make_recorder(self) -> GraphRecorder | None:
        return make_recorder(self._device) if self._options.cuda_graphs else None

    def _shared_teachers(self, members: Sequence[Member]) -> dict[Frozen, RunSpec]:
        """Return the networks in the role `teacher`, whose outputs members share, with their runs."""
        teachers = {t.id: t for t in (self._specs[member.name].teacher for member in members) if t is not None}
        return {self._teachers(teacher): teacher for teacher in teachers.values()}

    def _graphed_teachers(self, teachers: Iterable[Frozen]) -> dict[Frozen, GraphedTeacher]:
        return {
            teacher: GraphedTeacher(teacher, recorder) for teacher in teachers if (recorder := self._make_recorder())
        }

    def _teacher_caches(
        self, teachers: Mapping[Frozen, RunSpec], members: Sequence[Member], steps: int
    ) -> dict[Frozen, TeacherCache]:
        """Return the disk caches of the teachers whose feature maps no member reads."""
        if not self._options.teacher_cache_gb or self._options.compile:
            return {}
        files, caches = open_cache(self._options.teacher_cache_gb), {}
        for network, spec in teachers.items():
            weights = (self._store.result(spec.id) or {}).get("files", {}).get(WEIGHTS, {}).get("sha256")
            reads = fields_read(network, [member.method for member in members])
            if weights and reads != "maps":
                key = cache_key(self._first, spec, weights, self._device)
                caches[network] = TeacherCache(
                    network, files, key, self._epochs, steps, self._warn, embeddings=reads == "embedding"
                )
        return caches

    def _warn(self, text: str) -> None:
        self._emit(WarningIssued(text))

    def _evaluate(self, member: Member, data: CohortData) -> dict[str, float]:
        """Return the validation scores of the first deployed network, and its test scores if they are tracked."""
        spec = self._specs[member.name]
        network = next(iter(member.method.deployed().values()))
        splits = {"val": data.validation} if len(data.validation.labels) else {}
        if spec.split.track_test:
            splits["test"] = data.test
        scores: dict[str, float] = {}
        for name, images in splits.items():
            logits = compute_logits(network, images.batches())
            values = classification_metrics(logits, images.labels.cpu())
            scores |= {f"{name}_{metric}": value for metric, value in values.items()}
        return scores

    def _emit_epoch(self, epoch: int, active: Sequence[Member], time: EpochTime) -> None:
        rows = [member.history[-1] for member in active if member.error is None]
        accuracies = [float(row["val_accuracy"] or 0) for row in rows if "val_accuracy" in row]
        self._emit(
            EpochEnded(
                runs=tuple(member.name for member in active),
                epoch=epoch + 1,
                epochs=self._epochs,
                loss=sum(_total_loss(row) for row in rows) / max(1, len(rows)),
                val_accuracy=max(accuracies, default=None),
                seconds_left=time.mean * (self._epochs - epoch - 1),
                seconds=time.seconds,
                run_seconds=time.run_seconds,
            )
        )

    def _finish(self, member: Member, data: CohortData, record: TrainingRecord) -> None:
        """Write the result or the error of a member that has ended."""
        spec = self._specs[member.name]
        if member.error is not None:
            self.fail(spec, member.error, record.started)
            return
        writer = RunWriter(spec, member, data, self._store, self._device, self._options, self._teachers)
        try:
            writer.write(record)
        except ResultsError:
            raise
        except Exception as error:  # the evaluation runs custom networks
            if is_out_of_memory(error):
                raise
            self.fail(spec, error, record.started)
            return
        self._emit(RunDone(spec.id))

    def fail(self, spec: RunSpec, error: BaseException, started: str | None = None) -> None:
        """Write the error of a run and emit `RunFailed`.

        Raises:
            StorageError: the environment is responsible for the error, not the run.
        """
        if (storage := as_storage_error(error)) is not None:
            raise storage from error
        reason = str(error) if isinstance(error, KdbenchError) else f"{type(error).__name__}: {error}"
        trace = "".join(traceback.format_exception(error))
        write_failure(self._store, spec, reason, trace, started or self._started)
        self._emit(RunFailed(spec.id, reason))


def _total_loss(row: Mapping[str, float | int | None]) -> float:
    return sum(float(value or 0) for key, value in row.items() if key.startswith("loss."))
