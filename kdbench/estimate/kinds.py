"""The cohorts of pending runs, by kind."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

from kdbench import data
from kdbench.data.run_images import count_steps, split_images
from kdbench.matrix import RunSpec
from kdbench.plan import Plan, batches_key
from kdbench.plan.choice import choose_finished
from kdbench.plan.training import reads_images
from kdbench.queue.grouping import QueuedRun, group_runs
from kdbench.results import Store
from kdbench.training.method import Task
from kdbench.worker.cohort_data import make_task


@final
@dataclass(frozen=True, eq=False)
class Kind:
    """Cohorts that share batches of one shape and the architecture of the teacher."""

    cohorts: Sequence[Sequence[RunSpec]]
    task: Task
    validation: int  # images

    @property
    def first(self) -> RunSpec:
        """A run with the data set, batch shape and recipe of all."""
        return self.cohorts[0][0]

    @property
    def runs(self) -> list[RunSpec]:
        """The runs of all cohorts."""
        return [run for cohort in self.cohorts for run in cohort]

    @property
    def steps(self) -> int:
        """Batches per epoch."""
        return count_steps(self.first.recipe, self.task.train_size, reads_images(self.first))

    def __str__(self) -> str:
        recipe, runs = self.first.recipe, self.runs
        teachers = ", ".join(sorted({run.teacher.student.name for run in runs if run.teacher}))
        students, names = sorted({run.student.name for run in runs}), sorted({run.method for run in runs})
        networks = f"{teachers} -> {', '.join(students)}" if teachers else ", ".join(students)
        shape = "x".join(map(str, self.task.image_shape))
        return f"{self.first.dataset.name}: {networks}; {', '.join(names)}; batch {recipe.batch_size}x{shape}"


def group_by_kind(runs: Sequence[RunSpec], slot_count: int) -> list[Kind]:
    """Group runs into cohorts as the queue does, and these by kind, in the order in which they start."""
    found: dict[tuple[str, str], list[list[RunSpec]]] = {}
    for cohort in _cohorts(runs, slot_count):
        teacher = next((run.teacher.student.canonical for run in cohort if run.teacher), "")
        found.setdefault((_shape(cohort[0]), teacher), []).append(cohort)
    return [Kind(cohorts, *_sizes(cohorts[0][0])) for cohorts in found.values()]


def _shape(run: RunSpec) -> str:
    """Return a key that is equal for runs whose batches have the same shape, whatever their images."""
    return batches_key(replace(run, seed=0, stream="student", split=replace(run.split, split_seed=0)))


def _cohorts(runs: Sequence[RunSpec], slot_count: int) -> list[list[RunSpec]]:
    """Return the cohorts of the runs that need no other, then of those that need these, and so on."""
    pending, planned = [QueuedRun(run, batches_key(run)) for run in runs], {run.id for run in runs}
    found: list[list[RunSpec]] = []
    while pending:
        ready = [item for item in pending if not {need.id for _, need in item.spec.needs} & planned]
        found += [[item.spec for item in cohort] for cohort in group_runs(ready, slot_count)]
        planned -= {item.spec.id for item in ready}
        pending = [item for item in pending if item.spec.id in planned]
    return found


def _sizes(run: RunSpec) -> tuple[Task, int]:
    """Return the task of a run, and its number of validation images."""
    loaded = data.load(run.dataset) if run.dataset.fingerprint else data.get_info(run.dataset)
    indices = split_images(loaded, run.split, run.recipe)
    return make_task(run, loaded, indices), len(indices.validation)


def find_pending(plan: Plan, results: Path) -> list[RunSpec]:
    """Return the runs of both phases that are not done in a results folder, which need not exist.

    Of a label whose configuration is not chosen yet, the first one stands for it.
    """
    store = Store.existing(results)
    runs = choose_finished(plan, store).choose_first().runs
    return [run for run in runs if store is None or store.state(run.id) != "done"]
