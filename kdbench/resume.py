"""Check whether a matrix has runs left to train, without planning it or importing torch."""

from contextlib import suppress

from kdbench import data
from kdbench.errors import DataError, KdbenchError
from kdbench.matrix import MatrixSpec
from kdbench.matrix.plan_digest import plan_digest
from kdbench.matrix.resolve import data_spec
from kdbench.queue.devices import find_slots, timing_environments
from kdbench.results import MatrixIndex, Store
from kdbench.results.timings import timed_architectures


def finished_index(matrix: MatrixSpec, store: Store) -> MatrixIndex | None:
    """Return the matrix's index in the results folder if it is up to date and nothing is left to do, else None.

    Nothing is left if all runs are finished and every deployed network was timed in the environment of this machine.

    The index is up to date if its digest equals that of the matrix, the code and the data sets as they are now. A
    data set that cannot be read makes it outdated: planning then raises the error.
    """
    index = store.index(matrix.name)
    if (
        index is None
        or index.undecided
        or not index.digest
        or index.digest != plan_digest(matrix, _fingerprints(matrix))
    ):
        return None
    return index if store.is_complete(index) and _is_timed(matrix, index, store) else None


def _is_timed(matrix: MatrixSpec, index: MatrixIndex, store: Store) -> bool:
    options = matrix.run
    try:
        slots = find_slots(options.devices, options.workers, store.threads or 1)
    except KdbenchError:  # the requested device is missing
        return False
    timed = timed_architectures(store.timings, timing_environments(slots))
    return store.architectures(index.run_ids).keys() <= timed


def _fingerprints(matrix: MatrixSpec) -> dict[str, str | None]:
    found: dict[str, str | None] = dict.fromkeys(matrix.datasets)
    for name in matrix.datasets:
        with suppress(DataError):
            found[name] = data.get_fingerprint(data_spec(matrix, name))
    return found
