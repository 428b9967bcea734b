"""Check that initial weights from a run of kdbench were not trained on the validation images of another run."""

from pathlib import Path

import numpy as np

from kdbench.data.dataset import Dataset
from kdbench.data.dataset_info import DatasetInfo
from kdbench.data.run_images import split_images
from kdbench.errors import NetworkError, ResultsError
from kdbench.matrix import NetworkSpec, RunSpec
from kdbench.results.integrity import read_spec


def check_initial_weights(run: RunSpec, loaded: Dataset | DatasetInfo) -> None:
    """Refuse initial weights that were trained on some of the run's validation images.

    Only weights in the folder of a run can be checked, and only if it has the same data set; of any other weights it is
    unknown which images they were trained on.

    Args:
        run: the run.
        loaded: its data set.

    Raises:
        NetworkError: the run that trained the weights, or one that it needed, has seen validation images of `run`.
    """
    for network in (run.student, *run.peers):
        origin = _origin(network)
        count = 0 if origin is None else count_seen(origin, run, loaded)
        if count:
            raise NetworkError(
                f"network '{network.name}': its weights were trained on {count} validation images of these runs, so "
                f"choices made on them would be too optimistic, got weights = {network.weights!r}; use weights of a "
                f"run with protocol.validation = {run.split.validation} and split_seed = {run.split.split_seed}, or "
                "use the protocol of that run"
            )


def count_seen(origin: RunSpec, run: RunSpec, loaded: Dataset | DatasetInfo) -> int:
    """Return how many validation images of `run` were trained on by `origin` or by a run that it needed."""
    content = run.dataset.fingerprint
    runs = [one for one in (origin, *(need for _, need in origin.needs)) if one.dataset.fingerprint == content]
    seen = [split_images(loaded, one.split, one.recipe).train for one in runs]
    validation = split_images(loaded, run.split, run.recipe).validation
    return len(np.intersect1d(np.concatenate(seen), validation)) if seen else 0


def _origin(network: NetworkSpec) -> RunSpec | None:
    """Return the run that trained the initial weights of a network; None if they are not those of a run."""
    if network.weights is None:
        return None
    given = Path(network.weights)
    path = (given if given.is_dir() else given.parent) / "spec.json"
    if not path.exists():
        return None
    try:
        return read_spec(path.parent)
    except ResultsError as error:
        raise NetworkError(
            f"network '{network.name}': {path} cannot be read ({error}), so it is unknown which images its weights "
            "were trained on; give the file of the weights instead of the folder"
        ) from None
