"""The Python interface: train a matrix, tune a method, write reports, and read matrices, results and predictions."""

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, final

from kdbench.errors import DataError, MatrixError
from kdbench.events import EventHandler
from kdbench.matrix import MatrixSpec, RunSpec, load
from kdbench.results import MatrixIndex, Store

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from kdbench.plan import Plan
    from kdbench.reporting import Selection
    from kdbench.sessions import SessionRecorder
    from kdbench.workload import OnPlan


@final
@dataclass(frozen=True)
class Matrix:
    """A matrix that has been read and validated."""

    spec: MatrixSpec

    @property
    def name(self) -> str:
        """The name of the matrix."""
        return self.spec.name

    def runs(self) -> tuple[RunSpec, ...]:
        """Return every run that can be trained, once: teachers first, then seed by seed.

        With `protocol.search_seeds` these are the runs that are known before the search: the runs of a configuration
        that is chosen by it are not among them.

        Nothing is downloaded. If the files of a known data set are missing, the `dataset.fingerprint` of its runs is
        None and their ids are provisional.

        Raises:
            MatrixError: a name is unknown, a value is invalid, or a custom data set is missing.
            DataError: a data set is corrupted.
        """
        from kdbench.plan import make_plan

        return make_plan(self.spec, provisional=True).runs


def load_matrix(path: str | Path) -> Matrix:
    """Read and validate the TOML file of a matrix; imports no torch.

    Raises:
        MatrixError: the file cannot be read, is not TOML, or does not match the schema.
    """
    return Matrix(load(path))


def load_results(results: str | Path = "results", matrix: str | None = None) -> "pd.DataFrame":
    """Return a pandas data frame of a results folder, one row per run.

    Args:
        results: the results folder.
        matrix: the name of a matrix: only its runs, under the labels that they have in it. None: all runs.

    Raises:
        ResultsError: the folder does not exist, a newer kdbench wrote it, or it has no such matrix.
    """
    from kdbench.results.table import load_results as load_frame

    return load_frame(str(results), matrix)


def load_predictions(run: str, results: str | Path = "results", *, labels: bool = True) -> "dict[str, pd.DataFrame]":
    """Return what the networks of a run predict on the test images: a pandas data frame by the name of the network.

    The networks are "student" (the weights that are scored and saved), "best" (the weights of the best validation
    epoch, if that is another), and the other networks of the method, such as "peer1".

    Args:
        run: the id of a run that is done, or its first digits.
        results: the results folder.
        labels: whether to read the true labels from the data set. False: leave the column out.

    Returns:
        Frames with one row per test image, in the order of the data set (index `image`): `label`; `predicted`, the
            predicted class, or -1 where several classes share the top logit; `correct`; `probability`, that of the
            predicted class (or of each class with the top logit); `true_probability`, that of the label. The
            probabilities are rounded: NLL and ECE of them are within 0.001 of the exact values on usual test sets.

    Raises:
        ResultsError: no run, or several, have such an id; the run is not done; or its files are corrupted.
        DataError: the data set is missing or has changed since the run.
    """
    import pandas as pd

    from kdbench.results.predictions import read_predictions

    store = Store(results, create=False)
    run_id = store.find_run(run)
    networks = read_predictions(store, run_id)
    known = {"label": _test_labels(store.spec(run_id))} if labels else {}
    return {
        name: pd.DataFrame(
            {
                **known,
                "predicted": one.predicted,
                "correct": one.correct,
                "probability": one.probability,
                "true_probability": one.true_probability,
            }
        ).rename_axis("image")
        for name, one in networks.items()
    }


def _test_labels(spec: RunSpec) -> "NDArray[np.int64]":
    from kdbench import data

    loaded = data.load(spec.dataset)
    if loaded.fingerprint != spec.dataset.fingerprint:
        raise DataError(
            f"data set '{spec.dataset.name}' has changed: its fingerprint is {loaded.fingerprint}, that of the run is "
            f"{spec.dataset.fingerprint}; restore its files, or use labels=False"
        )
    return loaded.test_labels


def run(
    matrix: str | Path | Matrix,
    *,
    results: str | Path = "results",
    reports: str | Path = "reports",
    progress: bool = True,
) -> "pd.DataFrame":
    """Train the missing runs of a matrix on this machine and write its report, as `kdbench run` does.

    A run that fails does not raise: its `status` is "failed" and its `error` gives the reason.

    Args:
        matrix: the path of a TOML file, or a `Matrix`.
        results: the results folder; it is created if it is missing.
        reports: the folder for reports.
        progress: whether to print progress; in a notebook it is displayed below the cell.

    Returns:
        One row per run of the matrix, with the columns of `load_results`.

    Raises:
        MatrixError: the matrix has an error, or all cells are incompatible or excluded.
        StorageError: the results folder is not writable.
        KeyboardInterrupt: it was interrupted; call it again to resume.
    """
    from kdbench.reporting import write_report
    from kdbench.resume import finished_index

    spec = matrix.spec if isinstance(matrix, Matrix) else load(matrix)
    store = Store(results)
    index, frame = finished_index(spec, store), None
    if index is None:
        index, frame = _train(spec, store, progress)
    write_report(results, reports, [index.name], frame=frame)
    return load_results(results, index.name)


def _train(matrix: MatrixSpec, store: Store, progress: bool) -> "tuple[MatrixIndex, pd.DataFrame]":
    from kdbench.executor import start_workers
    from kdbench.sessions import SessionRecorder

    with ExitStack() as stack:
        recorder = stack.enter_context(SessionRecorder(store, matrix.name))
        executor = stack.enter_context(start_workers(matrix.run, store))
        from kdbench.plan import make_plan  # the workers import torch at the same time
        from kdbench.results.table import to_frame
        from kdbench.runner import train

        plan = make_plan(matrix)
        if not plan.runs:
            reasons = f"`kdbench plan {matrix.file}` gives the reasons"
            raise MatrixError(f"{matrix.file}: all cells are incompatible or excluded; {reasons}")
        trained, rows = train(plan, store, _on_plan(store, recorder, progress, stack), executor)
    return trained.index(), to_frame(rows)


def tune(
    method: str,
    matrix: str | Path | Matrix | None = None,
    *,
    trials: int = 20,
    results: str | Path = "results",
    progress: bool = True,
) -> "pd.DataFrame":
    """Search the hyperparameters of a method by validation accuracy, as `kdbench tune` does.

    Args:
        method: a label of the matrix, the name of a method, or a sum such as "vanilla + rkd_da". Values that the matrix
            fixes for the label stay fixed; its lists are searched.
        matrix: its first data set and pair, its recipe, and its search seeds, or else its seeds, are used; default: the
            quickstart, without its methods.
        trials: the number of configurations, those of an earlier call included.
        results: the results folder; it is created if it is missing.
        progress: whether to print progress; in a notebook it is displayed below the cell.

    Returns:
        One row per trial in the order of the trials: a column per searched hyperparameter; `val_accuracy`, the mean
        validation accuracy (0 to 1) over the seeds whose run finished, NaN without any; and `failed_seeds`, the number
        of seeds whose run failed. Trials with a failed run are never the best while another one is complete. `attrs`
        has the `seeds`, the number of `validation_images`, and the best `table` for a matrix.

    Raises:
        MethodError: the method is unknown, incompatible, or declares no range to search.
        MatrixError: the matrix has an error, or no validation images.
        KeyboardInterrupt: it was interrupted; call it again to resume.
    """
    import pandas as pd

    from kdbench.sessions import SessionRecorder
    from kdbench.tuning import default_matrix
    from kdbench.tuning import tune as search

    given = matrix.spec if isinstance(matrix, Matrix) else load(matrix) if matrix else None
    spec = given or default_matrix()
    store = Store(results)
    with SessionRecorder(store, spec.name) as recorder, ExitStack() as stack:
        result = search(method, spec, trials, store, _on_plan(store, recorder, progress, stack))
    frame = pd.DataFrame(
        [
            {**trial.configuration, "val_accuracy": trial.score, "failed_seeds": trial.num_failed}
            for trial in result.trials
        ]
    )
    frame.attrs = {
        "seeds": list(result.seeds),
        "validation_images": result.validation_images,
        "table": dict(result.table),
    }
    return frame


def report(
    *names: str,
    results: str | Path = "results",
    reports: str | Path = "reports",
    selection: "Selection" = "last",
) -> "pd.DataFrame":
    """Write the reports of some or all matrices of a results folder and return their accuracy tables.

    Args:
        names: names of matrices; none means all.
        results: the results folder.
        reports: the folder for reports.
        selection: the epoch whose weights are scored: "last", "best_validation" or "best_test".

    Returns:
        The accuracy table of the matrix, one row per method, accuracies in percent: `<title>` is the mean over seeds,
        `<title>, std` the sample standard deviation, `<title>, n` the number of runs. With several matrices, the
        tables below one another, the matrix in the first level of the index.

    Raises:
        ReportError: no matrix has been run, a name is unknown, or a report cannot be written.
    """
    import pandas as pd

    from kdbench.reporting import to_frame, write_report

    frames = {one.matrix: to_frame(one.accuracy) for one in write_report(results, reports, names, selection)}
    if len(frames) == 1:
        return next(iter(frames.values()))
    return pd.concat(frames, names=["matrix"])


def _on_plan(store: Store, recorder: "SessionRecorder", progress: bool, stack: ExitStack) -> "OnPlan":
    """Return what makes the handler of a plan's events; the display is closed with `stack`."""
    if not progress:
        return lambda plan: recorder.observe(plan, lambda event: None)
    from rich.console import Console

    from kdbench.progress import Progress

    display = stack.enter_context(Progress(store, Console(), recorder.activity))

    def show_progress(plan: "Plan") -> EventHandler:
        display.show(plan)
        return recorder.observe(plan, display.on_event)

    return show_progress
