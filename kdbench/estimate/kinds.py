"""The pending runs of a matrix, by kind."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

from kdbench import data
from kdbench.data.run_images import count_steps, split_images
from kdbench.matrix import RunSpec
from kdbench.plan import Plan, batches_key
from kdbench.plan.choice import choose_finished
from kdbench.plan.training import reads_images
from kdbench.queue.queued_run import QueuedRun
from kdbench.results import Store
from kdbench.training.method import Task
from kdbench.worker.cohort_data import make_task
from kdbench.workload import queue_runs, queue_undecided


@final
@dataclass(frozen=True, eq=False)
class Kind:
    """Runs that share batches of one shape and the architectures of teacher and student."""

    runs: Sequence[RunSpec]
    task: Task
    validation: int  # images

    @property
    def first(self) -> RunSpec:
        """A run with the data set, batch shape and recipe of all."""
        return self.runs[0]

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


def group_by_kind(runs: Iterable[RunSpec]) -> list[Kind]:
    """Group runs by kind, in their order."""
    found: dict[tuple[str, str, str], list[RunSpec]] = {}
    for run in runs:
        teacher = run.teacher.student.canonical if run.teacher else ""
        found.setdefault((_shape(run), teacher, run.student.canonical), []).append(run)
    return [Kind(group, *_sizes(group[0])) for group in found.values()]


def _shape(run: RunSpec) -> str:
    """Return a key that is equal for runs whose batches have the same shape, whatever their images."""
    return batches_key(replace(run, seed=0, stream="student", split=replace(run.split, split_seed=0)))


def _sizes(run: RunSpec) -> tuple[Task, int]:
    """Return the task of a run, and its number of validation images."""
    loaded = data.load(run.dataset) if run.dataset.fingerprint else data.get_info(run.dataset)
    indices = split_images(loaded, run.split, run.recipe)
    return make_task(run, loaded, indices), len(indices.validation)


def find_pending(plan: Plan, results: Path) -> list[QueuedRun]:
    """Return the runs of both phases that are not done in a results folder, which need not exist.

    Of a label whose configuration is not chosen yet, the first one stands for it, after the search.
    """
    store = Store.existing(results)
    plan = choose_finished(plan, store)
    runs = [*queue_runs(plan, plan.runs), *queue_undecided(plan)]
    return [run for run in runs if store is None or store.state(run.id) != "done"]
