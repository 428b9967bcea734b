"""Weights in safetensors files: what identifies them, whether they fit a network, and how they are loaded."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from kdbench.errors import NetworkError

OF_A_RUN = ("weights.safetensors", "result.json")
STUDENT = "student."  # begins the names of a run's own network; a file without such names is read whole
SHOWN = 3


def content(path: str) -> str:
    """Sixteen hexadecimal digits of the SHA-256 of names, types, shapes and values, wherever and however they lie.

    `path` is a safetensors file, or the folder of a finished run.

    Raises:
        NetworkError: it is not there, unfinished or corrupted.
    """
    with _opened(path) as stored:
        return _digest((name, stored.get_tensor(key)) for name, key in _names(stored).items())


def absolute(path: str) -> str:
    """Where weights lie, for every process alike.

    Raises:
        NetworkError: no path of this system, or the home of a user who is not known.
    """
    try:
        place = Path(path).expanduser().absolute()
        place.exists()
    except (OSError, RuntimeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise NetworkError(f"'weights' cannot be read ({reason}), got {path!r}") from None
    return str(place)


def check(path: str, network: nn.Module) -> None:
    """Whether the weights at a path fit a network (which may be on the meta device); reads no values.

    Raises:
        NetworkError: they do not, with the first parameters that are to blame; or the file cannot be read.
    """
    with _opened(path) as stored:
        found = {name: tuple(stored.get_slice(key).get_shape()) for name, key in _names(stored).items()}
    wanted = {name: tuple(value.shape) for name, value in network.state_dict().items() if isinstance(value, Tensor)}
    faults = list(_faults(found, wanted))
    if faults:
        more = f", and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
        raise NetworkError(
            f"the weights of {path} must be those of this very network, but {'; '.join(faults[:SHOWN])}{more}; "
            "take weights trained with the same architecture, number of classes and shape of images"
        )


def load(path: str, identity: str | None, network: nn.Module) -> None:
    """Load the weights at a path, if they are still those that `content` identified.

    Raises:
        NetworkError: they have changed, do not fit, or cannot be read.
    """
    check(path, network)
    with _opened(path) as stored:
        state = {name: stored.get_tensor(key) for name, key in _names(stored).items()}
    if _digest(iter(state.items())) != identity:
        raise NetworkError(
            f"the weights of {path} have changed since the matrix was planned; run the matrix again to take the new "
            "ones, or put the old ones back, say `kdbench retry --failed`, and run the matrix again"
        )
    network.load_state_dict(state)


def _faults(found: Mapping[str, tuple[int, ...]], wanted: Mapping[str, tuple[int, ...]]) -> Iterator[str]:
    for name, shape in wanted.items():
        if name not in found:
            yield f"'{name}' is missing"
        elif found[name] != shape:
            yield f"'{name}' is {found[name]} instead of {shape}"
    yield from (f"'{name}' is unknown to the network" for name in found if name not in wanted)


def _names(stored: Any) -> dict[str, str]:
    """The parameters' names, sorted, and what they are called in the file."""
    keys = sorted(stored.keys())
    own = [key for key in keys if key.startswith(STUDENT)]
    return {key.removeprefix(STUDENT): key for key in own or keys}


def _digest(tensors: Iterator[tuple[str, Tensor]]) -> str:
    found = hashlib.sha256()
    for name, value in tensors:
        found.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        found.update(value.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()[:16]


@contextmanager
def _opened(path: str) -> Iterator[Any]:
    file = _file(Path(path))
    try:
        with safe_open(file, framework="pt") as stored:
            yield stored
    except (SafetensorError, OSError) as error:
        raise NetworkError(
            f"{file}: must be a safetensors file, whole and readable, got: {error}; name another one in 'weights'"
        ) from None


def _file(place: Path) -> Path:
    missing = [name for name in OF_A_RUN if not (place / name).exists()]
    if place.is_dir() and missing:
        raise NetworkError(
            f"{place}: must be the folder of a finished run, but has no {missing[0]}; finish the run, or name another"
        )
    if not place.exists():
        raise NetworkError(
            f"{place}: there are no weights; 'weights' must name a safetensors file or the folder of a finished run "
            "(a relative path counts from the present folder)"
        )
    return place / OF_A_RUN[0] if place.is_dir() else place
