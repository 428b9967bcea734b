"""Weights in safetensors files: compute their digest, check that they fit a network, load them."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from kdbench.errors import NetworkError

RUN_FILES = ("weights.safetensors", "result.json")
STUDENT = "student."  # prefix of the deployed network in the weights of a run; files without it are read completely
MAX_FAULTS_SHOWN = 3


def compute_digest(path: str) -> str:
    """Return 16 hexadecimal digits of the SHA-256 of the names, types, shapes and values of weights.

    `path` is a safetensors file or the folder of a finished run. The digest does not depend on where and in which
    order they are stored.

    Raises:
        NetworkError: the file is missing or corrupted, or the run is unfinished.
    """
    with _open(path) as stored:
        return _digest((name, stored.get_tensor(key)) for name, key in _names(stored).items())


def absolute_path(path: str) -> str:
    """Return `path` as an absolute path, with `~` expanded.

    Raises:
        NetworkError: the path is invalid on this system, or its `~user` is unknown.
    """
    try:
        absolute = Path(path).expanduser().absolute()
        absolute.exists()
    except (OSError, RuntimeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise NetworkError(f"'weights' cannot be read ({reason}), got {path!r}") from None
    return str(absolute)


def check(path: str, network: nn.Module) -> None:
    """Check that the weights at `path` fit `network` (which may be on the meta device), without reading values.

    Raises:
        NetworkError: they do not (with the first parameters that differ), or the file cannot be read.
    """
    with _open(path) as stored:
        found = {name: tuple(stored.get_slice(key).get_shape()) for name, key in _names(stored).items()}
    wanted = {name: tuple(value.shape) for name, value in network.state_dict().items() if isinstance(value, Tensor)}
    faults = list(_faults(found, wanted))
    if faults:
        more = f", and {len(faults) - MAX_FAULTS_SHOWN} more" if len(faults) > MAX_FAULTS_SHOWN else ""
        raise NetworkError(
            f"{path}: the weights do not fit the network: {'; '.join(faults[:MAX_FAULTS_SHOWN])}{more}; use weights "
            "trained with the same architecture, number of classes and image shape"
        )


def load(path: str, identity: str | None, network: nn.Module) -> None:
    """Load the weights at `path` into `network` if their digest still is `identity`.

    Raises:
        NetworkError: they have changed, do not fit, or cannot be read.
    """
    check(path, network)
    with _open(path) as stored:
        state = {name: stored.get_tensor(key) for name, key in _names(stored).items()}
    if _digest(iter(state.items())) != identity:
        raise NetworkError(
            f"{path}: the weights have changed since the matrix was planned; run the matrix again to use the new ones, "
            "or restore the old file, run `kdbench retry`, then run the matrix again"
        )
    network.load_state_dict(state)


def _faults(found: Mapping[str, tuple[int, ...]], wanted: Mapping[str, tuple[int, ...]]) -> Iterator[str]:
    for name, shape in wanted.items():
        if name not in found:
            yield f"'{name}' is missing"
        elif found[name] != shape:
            yield f"'{name}' has shape {found[name]} instead of {shape}"
    yield from (f"'{name}' is not a parameter of the network" for name in found if name not in wanted)


def _names(stored: Any) -> dict[str, str]:
    """Return the key in the file by name of the parameter, sorted."""
    keys = sorted(stored.keys())
    deployed = [key for key in keys if key.startswith(STUDENT)]
    return {key.removeprefix(STUDENT): key for key in deployed or keys}


def _digest(tensors: Iterator[tuple[str, Tensor]]) -> str:
    digest = hashlib.sha256()
    for name, value in tensors:
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]


@contextmanager
def _open(path: str) -> Iterator[Any]:
    file = _find_file(Path(path))
    try:
        with safe_open(file, framework="pt") as stored:
            yield stored
    except (SafetensorError, OSError) as error:
        raise NetworkError(
            f"{file}: cannot be read as a safetensors file ({error}); set 'weights' to another file"
        ) from None


def _find_file(path: Path) -> Path:
    missing = [name for name in RUN_FILES if not (path / name).is_file()]
    if path.is_dir() and missing:
        raise NetworkError(
            f"{path}: not the folder of a finished run ({missing[0]} is missing); finish the run, or set 'weights' to "
            "another run"
        )
    if not path.is_dir() and not path.is_file():
        raise NetworkError(
            f"{path}: not found; 'weights' must name a safetensors file or the folder of a finished run (relative "
            "paths start at the current folder)"
        )
    return path / RUN_FILES[0] if path.is_dir() else path
