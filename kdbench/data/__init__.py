"""Data sets by kind: decoded once, kept, and known by the fingerprint of their content. Nothing here needs torch."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from kdbench.data import digits, folder, npz
from kdbench.data.cache import remembered, remembered_fingerprint
from kdbench.data.dataset import DataSet
from kdbench.data.prepare import prepare
from kdbench.errors import DataError, MethodError, nearest
from kdbench.matrix.recipe import canonical, digest
from kdbench.matrix.spec import DataSpec
from kdbench.training.hyperparameters import declared

__all__ = ["DATASETS", "DataSet", "DataSpec", "Kind", "catalogue", "check", "fingerprint", "load"]

DECODER = 2  # raised when a loader reads the same file differently


@final
@dataclass(frozen=True)
class Kind:
    """A way to read a data set."""

    name: str
    load: Callable[..., DataSet]  # its options are its keyword-only arguments, beside those of `prepare`
    description: str
    source: str
    layout: str = ""  # what the option `root` must name, where there is one


DATASETS: Mapping[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("digits", digits.digits, digits.DESCRIPTION, digits.SOURCE),
        Kind("npz", npz.npz, npz.DESCRIPTION, npz.SOURCE, npz.LAYOUT),
        Kind("folder", folder.folder, folder.DESCRIPTION, folder.SOURCE, folder.LAYOUT),
    )
}


def load(spec: DataSpec) -> DataSet:
    """The data set, from the cache where it is there. Its arrays are read-only.

    Raises:
        DataError: an unknown kind or option, or data that are absent or damaged.
    """
    kind, options = _resolved(spec)

    def build() -> DataSet:
        loaded = kind.load(**{name: options[name] for name in declared(kind.load)})
        return prepare(loaded, **{name: options[name] for name in declared(prepare)})

    return remembered(_key(kind, options), build)


def fingerprint(spec: DataSpec) -> str:
    """The fingerprint of the data set's content; decodes it only if the cache does not have it.

    Raises:
        DataError: as `load`.
    """
    kind, options = _resolved(spec)
    return remembered_fingerprint(_key(kind, options)) or load(spec).fingerprint


def check(spec: DataSpec) -> None:
    """Whether `load` can be tried: a known kind, valid options, files that are there. Reads no image.

    Raises:
        DataError: with the nearest valid name, or with the file that is not there and what belongs in it.
    """
    _resolved(spec)


def catalogue() -> tuple[Kind, ...]:
    """All kinds, for a listing: `name`, `description`, `source`, `layout`."""
    return tuple(DATASETS.values())


def _resolved(spec: DataSpec) -> tuple[Kind, dict[str, Any]]:
    """The kind of a data set and all its options, typed, with `root` as an absolute path."""
    if spec.kind not in DATASETS:
        raise DataError(f"data set '{spec.name}' is of no known kind: '{spec.kind}'; {nearest(spec.kind, DATASETS)}")
    kind = DATASETS[spec.kind]
    options = _options(spec, kind)
    if "root" in options:
        root = Path(options["root"]).expanduser().absolute()
        if not root.exists():
            raise DataError(
                f"data set '{spec.name}' is not there: {root} does not exist; 'root' must name {kind.layout}"
            )
        options["root"] = str(root)
    return kind, options


def _options(spec: DataSpec, kind: Kind) -> dict[str, Any]:
    known = {**declared(kind.load), **declared(prepare)}
    for name in spec.options:
        if name not in known:
            raise DataError(f"data set '{spec.name}' has no option '{name}'; {nearest(name, known)}")
    for name, option in known.items():
        if option.required and name not in spec.options:
            raise DataError(f"data set '{spec.name}' needs the option '{name}': {kind.layout or option.describe()}")
    try:
        given = {name: known[name].validate(value) for name, value in spec.options.items()}
    except MethodError as error:
        raise DataError(f"data set '{spec.name}': the option {error}") from None
    return {name: option.default for name, option in known.items()} | given


def _key(kind: Kind, options: Mapping[str, Any]) -> str:
    """Names what the cache keeps: the same for the same decoder, kind, options and unchanged files."""
    root = options.get("root")
    files = [] if root is None else [_stamp(file) for file in _files(Path(root))]
    return f"{kind.name}-{digest(canonical([DECODER, kind.name, dict(options), files]))}"


def _files(root: Path) -> list[Path]:
    return sorted(file for file in root.rglob("*") if file.is_file()) if root.is_dir() else [root]


def _stamp(file: Path) -> tuple[str, int, int]:
    status = file.stat()
    return str(file), status.st_size, status.st_mtime_ns
