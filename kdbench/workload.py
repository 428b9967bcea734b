"""The workload of a plan: its runs in the queue, those that its searches will add, and how long their epochs take."""

from collections.abc import Callable, Iterable, Sequence
from typing import final

from kdbench.events import Event, EventHandler
from kdbench.matrix import NetworkSpec, RunSpec, Sweep
from kdbench.plan import Plan, batches_key
from kdbench.plan.choice import choose_finished
from kdbench.plan.training import training_key
from kdbench.queue.costs import EpochWork
from kdbench.queue.queued_run import QueuedRun
from kdbench.results import Store

OnPlan = Callable[[Plan], EventHandler]


def queue_runs(plan: Plan, runs: Iterable[RunSpec], after: Iterable[str] = ()) -> list[QueuedRun]:
    """Return runs of a plan as the queue takes them; those in `after` must finish before."""
    before = frozenset(after)
    return [QueuedRun(spec, batches_key(spec), epoch_work(plan, spec), after=before) for spec in runs]


def queue_undecided(plan: Plan) -> list[QueuedRun]:
    """Return stand-ins of the runs that the searches of a plan will add: of the first configuration of each."""
    return [
        run for sweep in plan.undecided for run in queue_runs(plan, sweep.report.runs.values(), _search_runs(sweep))
    ]


def epoch_work(plan: Plan, spec: RunSpec) -> EpochWork:
    """Return the work of an epoch: a backward pass takes twice as long as a forward pass."""
    training = plan.trainings.get(training_key(spec)) or next(iter(plan.trainings.values()))
    images, scored = training.train_images * training.views, training.validation_images
    scored += training.test_images if spec.split.track_test else 0

    def operations(network: NetworkSpec) -> float:
        return plan.operations.get((spec.dataset.canonical, network.canonical), 0.0)

    return EpochWork(
        own=(3 * images + scored) * operations(spec.student) + 3 * images * sum(map(operations, spec.peers)),
        shared=images * operations(spec.teacher.student) if spec.teacher else 0.0,
        steps=training.steps // max(1, spec.recipe.epochs),
    )


@final
class SearchedRuns:
    """The runs that a plan gains while its searches finish: of each, the chosen configuration on the seeds.

    Args:
        plan: the plan, with the choices of all searches that have finished.
        store: the results folder, which keeps the index of the plan.
        on_plan: called with the plan, and again with each plan that has more runs; returns the handler of events.
    """

    def __init__(self, plan: Plan, store: Store, on_plan: OnPlan) -> None:
        self.plan = plan
        self._store = store
        self._on_plan = on_plan
        self._handler = on_plan(plan)
        self._open = [{run for run in _search_runs(one) if not store.is_finished(run)} for one in plan.undecided]

    def on_event(self, event: Event) -> None:
        """Handle an event as the latest plan's handler does."""
        self._handler(event)

    def finish(self, run: str) -> Sequence[QueuedRun]:
        """Choose the configurations of the searches that end with a run; return the runs that this adds."""
        is_last = any(left == {run} for left in self._open)
        for left in self._open:
            left.discard(run)
        if not is_last:
            return ()
        known = {one.id for one in self.plan.runs}
        self.plan = choose_finished(self.plan, self._store)
        self._store.write_index(self.plan.index())
        self._handler = self._on_plan(self.plan)
        return queue_runs(self.plan, [one for one in self.plan.runs if one.id not in known])

    def expected(self) -> Sequence[QueuedRun]:
        """Return the runs of the first configuration of each search that has not finished."""
        return queue_undecided(self.plan)


def _search_runs(sweep: Sweep) -> list[str]:
    return [run.id for cell in sweep.search for run in cell.runs.values()]
