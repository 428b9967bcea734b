"""Train a cohort: runs that see the same batches, side by side, each with a result of its own."""

import time
import traceback
from collections.abc import Iterable, Mapping, Sequence
from typing import final

import torch

from kdbench.analysis import classification_metrics
from kdbench.errors import CorruptedError, KdbenchError, ResultsError
from kdbench.events import EpochEnded, EventHandler, RunDone, RunFailed, WarningIssued
from kdbench.matrix import RunSpec
from kdbench.results import Store
from kdbench.results.integrity import WEIGHTS
from kdbench.results.provenance import now
from kdbench.training.cuda_graphs import GraphRecorder, make_recorder
from kdbench.training.evaluation import compute_logits
from kdbench.training.loop import CohortLoop
from kdbench.training.member import Member
from kdbench.training.memory import is_out_of_memory
from kdbench.training.network import Frozen
from kdbench.training.static_batches import GraphedTeacher, StaticBatches
from kdbench.worker.build import Teachers, build_method
from kdbench.worker.checkpoints import Checkpoints
from kdbench.worker.cohort_data import CohortData, batches, load_cohort_data
from kdbench.worker.memory import check_room
from kdbench.worker.options import Options
from kdbench.worker.run_writer import RunWriter, write_failure
from kdbench.worker.teacher_cache import TeacherCache, cache_key, fields_read, open_cache


@final
class CohortWorker:
    """One cohort on one device, from specs to results.

    What its teachers say is repeated from disk, within `options.teacher_cache_gb`, where nobody reads its maps.
    """

    def __init__(
        self,
        specs: Sequence[RunSpec],
        store: Store,
        device: torch.device,
        on_event: EventHandler,
        options: Options | None = None,
    ) -> None:
        self._specs = {spec.id: spec for spec in specs}
        self._store = store
        self._device = device
        self._emit = on_event
        self._options = options or Options()
        self._started = now()
        self._first = specs[0]
        self._epochs = self._first.recipe.epochs

    def train(self) -> None:
        """Train all runs from where they were left; each that fails leaves its reason, the others go on.

        Raises:
            ResultsError: the results folder cannot be written to.
            MemoryError, RuntimeError: memory has run out; nothing that was written before is lost.
        """
        data = load_cohort_data(self._first, self._device)
        if self._options.compile:
            torch.compiler.reset()  # of what earlier cohorts compiled: only so many variants are kept
        self._teachers = Teachers(self._store, data.task, self._device, self._options.compile)
        members: list[Member] = []
        for spec in self._specs.values():
            member = self._member(spec, data)
            if member is not None and not members:
                check_room(member, len(self._specs), self._device)
            members += [member] if member is not None else []
        saved = Checkpoints(self._store, self._options, self._teachers.loaded, self._emit)
        begun: dict[int, list[Member]] = {}
        for member in members:
            begun.setdefault(saved.resume(member), []).append(member)
        for epoch, group in sorted(begun.items()):
            self._train(group, epoch, data, saved)

    def _train(self, members: list[Member], first: int, data: CohortData, saved: Checkpoints) -> None:
        """Train members that are equally far."""
        size = len(members)
        views = max(m.method.views for m in members)
        opens_images = any(m.method.data == "train" for m in members)

        def epoch_ended(epoch: int, active: Sequence[Member]) -> None:
            self._emit_epoch(epoch, first, active)
            ended = [m for m in active if not m.is_training or epoch + 1 == self._epochs]
            for member in ended:
                self._finish(member, data, saved.shared_seconds(member, cohort.shared_seconds), size)
            going_on = [m for m in active if m not in ended]
            saved.save_if_due(going_on, epoch + 1, cohort.shared_seconds)

        drawn = batches(self._first, data, views, opens_images)
        asked = self._asked(members) if opens_images else {}
        records = any(member.uses_cuda_graph for member in members)
        cohort = CohortLoop(
            members,
            StaticBatches(drawn) if records else drawn,
            list(asked),
            lambda member: self._score(member, data),
            epoch_ended,
            self._captured(asked) if records else self._teacher_caches(asked, members, drawn.steps_per_epoch),
        )
        self._clock = time.monotonic()
        cohort.train(self._epochs, first)
        if not self._epochs:
            for member in members:
                self._finish(member, data, 0.0, size)

    def _member(self, spec: RunSpec, data: CohortData) -> Member | None:
        """A run made ready; None where its method or networks cannot be built, or it must wait for a teacher again."""
        self._store.write_spec(spec)
        try:
            method = build_method(spec, data.task, self._device, self._teachers, self._options.compile)
            return Member(spec.id, method, spec.recipe, spec.seed, self._recorder())
        except CorruptedError as error:
            self._emit(WarningIssued(str(error), spec.id))
            return None
        except Exception as error:  # a user's own network or method may raise anything; its cohort goes on
            if is_out_of_memory(error):
                raise
            self.fail(spec, error)
            return None

    def _recorder(self) -> GraphRecorder | None:
        return make_recorder(self._device) if self._options.cuda_graphs else None

    def _captured(self, asked: Iterable[Frozen]) -> dict[Frozen, GraphedTeacher]:
        return {network: GraphedTeacher(network, one) for network in asked if (one := self._recorder())}

    def _asked(self, members: Sequence[Member]) -> dict[Frozen, RunSpec]:
        """The networks that fill the role `teacher`: what they say of every batch is work that members share."""
        teachers = {t.id: t for t in (self._specs[member.name].teacher for member in members) if t is not None}
        return {self._teachers(teacher): teacher for teacher in teachers.values()}

    def _teacher_caches(
        self, asked: Mapping[Frozen, RunSpec], members: Sequence[Member], steps: int
    ) -> dict[Frozen, TeacherCache]:
        """The teacher_caches of those teachers of whom the members read nothing but logits and embeddings."""
        options = self._options
        if not options.teacher_cache_gb or options.compile:
            return {}
        kept, found = open_cache(options.teacher_cache_gb), {}
        for network, teacher in asked.items():
            weights = (self._store.result(teacher.id) or {}).get("files", {}).get(WEIGHTS, {}).get("sha256")
            read = fields_read(network, [member.method for member in members])
            if weights and read != "maps":
                name = cache_key(self._first, teacher, weights, self._device)
                found[network] = TeacherCache(network, kept, name, self._epochs, steps, self._warn, read == "embedding")
        return found

    def _warn(self, text: str) -> None:
        self._emit(WarningIssued(text))

    def _score(self, member: Member, data: CohortData) -> dict[str, float]:
        """What a member's first deployed network is worth on validation, and on test where the protocol tracks it."""
        spec = self._specs[member.name]
        network = next(iter(member.method.deployed().values()))
        sets = {"val": data.validation} if len(data.validation.labels) else {}
        if spec.split.track_test:
            sets["test"] = data.test
        scores: dict[str, float] = {}
        for name, images in sets.items():
            found = classification_metrics(
                compute_logits(network, images.batches(), spec.recipe.precision), images.labels.cpu()
            )
            scores |= {f"{name}_{metric}": value for metric, value in found.items()}
        return scores

    def _emit_epoch(self, epoch: int, first: int, active: Sequence[Member]) -> None:
        elapsed = time.monotonic() - self._clock
        rows = [member.history[-1] for member in active if member.error is None]
        accuracies = [float(row["val_accuracy"] or 0) for row in rows if "val_accuracy" in row]
        self._emit(
            EpochEnded(
                runs=tuple(member.name for member in active),
                epoch=epoch + 1,
                epochs=self._epochs,
                loss=sum(_total_loss(row) for row in rows) / max(1, len(rows)),
                val_accuracy=max(accuracies, default=None),
                seconds_left=elapsed / (epoch + 1 - first) * (self._epochs - epoch - 1),
            )
        )

    def _finish(self, member: Member, data: CohortData, shared_seconds: float, size: int) -> None:
        spec = self._specs[member.name]
        if member.error is not None:
            self.fail(spec, member.error)
            return
        outcome = RunWriter(spec, member, data, self._store, self._device, self._options)
        try:
            outcome.write(self._started, shared_seconds, size)
        except ResultsError:
            raise
        except Exception as error:  # evaluation runs the user's own network once more
            if is_out_of_memory(error):
                raise
            self.fail(spec, error)
            return
        self._emit(RunDone(spec.id))

    def fail(self, spec: RunSpec, error: BaseException) -> None:
        """Write down why a run failed, and tell it."""
        reason = str(error) if isinstance(error, KdbenchError) else f"{type(error).__name__}: {error}"
        trace = "".join(traceback.format_exception(error))
        write_failure(self._store, spec, reason, trace, self._started)
        self._emit(RunFailed(spec.id, reason))


def _total_loss(row: Mapping[str, float | int | None]) -> float:
    return sum(float(value or 0) for key, value in row.items() if key.startswith("loss."))
