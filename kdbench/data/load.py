"""Data sets by kind: decoded once, kept, and known by the fingerprint of their content. Nothing here needs torch."""

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from kdbench.data import digits, folder, npz, parquet
from kdbench.data.cache import cached, cached_fingerprint
from kdbench.data.dataset import DataSet
from kdbench.data.dataset_info import DatasetInfo
from kdbench.data.downloads import CIFAR10, CIFAR100, FASHION_MNIST, MNIST, Archives, Download
from kdbench.data.prepare import prepare
from kdbench.data.remote_sensing import AID, EUROSAT, NWPU_RESISC45, UC_MERCED, Land
from kdbench.errors import DataError, MethodError, did_you_mean
from kdbench.hyperparameters import declared
from kdbench.matrix.identity import canonical, digest
from kdbench.matrix.spec import DataSpec

__all__ = [
    "DATASETS",
    "DataSet",
    "DataSpec",
    "DatasetInfo",
    "Kind",
    "absent",
    "catalog",
    "check",
    "fingerprint",
    "info",
    "load",
]

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
    places: tuple[str, ...] = (".",)  # below `root`: what belongs to it
    enough: Callable[[Iterable[bool]], bool] = any  # whether one of the places will do, or `all` must be there
    fetch: Callable[[str], None] | None = None  # puts what is not there into the folder `root`
    archives: Archives = ()  # where all of these are there, `fetch` downloads nothing
    info: DatasetInfo | None = None  # what is known without the files


def _known(one: Download | Land) -> Kind:
    return Kind(
        one.name,
        one.load,
        one.description,
        one.source,
        one.layout,
        one.places,
        all if isinstance(one, Download) else any,
        one.fetch,
        one.archives,
        one.info,
    )


DATASETS: Mapping[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("digits", digits.digits, digits.DESCRIPTION, digits.SOURCE),
        Kind("npz", npz.npz, npz.DESCRIPTION, npz.SOURCE, npz.LAYOUT),
        Kind("folder", folder.folder, folder.DESCRIPTION, folder.SOURCE, folder.LAYOUT),
        Kind("parquet", parquet.parquet, parquet.DESCRIPTION, parquet.SOURCE, parquet.LAYOUT),
        *map(_known, (MNIST, FASHION_MNIST, CIFAR10, CIFAR100)),
        *map(_known, (EUROSAT, UC_MERCED, AID, NWPU_RESISC45)),
    )
}


def load(spec: DataSpec) -> DataSet:
    """The data set, from the cache where it is there; downloaded where its kind can be. Its arrays are read-only.

    Raises:
        DataError: an unknown kind or option, or data that are absent or corrupted.
    """
    kind, options = _present(spec)
    if kind.fetch and not _complete(kind, options["root"]):
        kind.fetch(options["root"])

    def build() -> DataSet:
        loaded = kind.load(**{name: options[name] for name in declared(kind.load)})
        return prepare(loaded, **{name: options[name] for name in declared(prepare)})

    return cached(_key(kind, options), build)


def fingerprint(spec: DataSpec) -> str:
    """The fingerprint of the data set's content; decodes it only if the cache does not have it.

    Raises:
        DataError: as `load`.
    """
    kind, options = _present(spec)
    return cached_fingerprint(_key(kind, options)) or load(spec).fingerprint


def check(spec: DataSpec) -> None:
    """Whether `load` can be tried: a known kind, valid options, files that are there. Reads no image.

    Raises:
        DataError: with the nearest valid name, or with the file that is not there and what belongs in it.
    """
    _present(spec)


def absent(spec: DataSpec) -> str | None:
    """What `load` would have to download, or misses, and what belongs where; None where it needs no internet.

    Raises:
        DataError: an unknown kind or option.
    """
    kind, options = _resolved(spec)
    if "root" not in options or _complete(kind, options["root"]) or _packed(kind, options["root"]):
        return None
    root = Path(options["root"])
    first = root / next(place for place in kind.places if not (root / place).exists())
    remedy = "; training downloads it where there is internet" if kind.fetch else ""
    return f"data set '{spec.name}' is not there: {first} does not exist; 'root' must name {kind.layout}{remedy}"


def info(spec: DataSpec) -> DatasetInfo:
    """What is known of the data set without its files, with its options; nothing is read or downloaded.

    Raises:
        DataError: an unknown kind or option, a kind of which nothing is known, `samples` above the number of training
            images, or no `resize` where the images differ in size.
    """
    kind, options = _resolved(spec)
    if kind.info is None:
        raise DataError(absent(spec) or f"data set '{spec.name}': nothing is known of it but what its files say")
    try:
        found = kind.info.prepared(**{name: options[name] for name in declared(prepare)})
        _ = found.image_shape
    except DataError as error:
        raise DataError(f"data set '{spec.name}': {error}") from None
    return found


def catalog() -> tuple[Kind, ...]:
    """All kinds, for a listing: `name`, `description`, `source`, `layout`."""
    return tuple(DATASETS.values())


def _present(spec: DataSpec) -> tuple[Kind, dict[str, Any]]:
    """The same as `_resolved`, of a data set that is there or can be fetched."""
    kind, options = _resolved(spec)
    if not kind.fetch and (reason := absent(spec)):
        raise DataError(reason)
    return kind, options


def _resolved(spec: DataSpec) -> tuple[Kind, dict[str, Any]]:
    """The kind of a data set and all its options, typed, with `root` as an absolute path."""
    if spec.kind not in DATASETS:
        raise DataError(
            f"data set '{spec.name}' is of no known kind: '{spec.kind}'; {did_you_mean(spec.kind, DATASETS)}"
        )
    kind = DATASETS[spec.kind]
    options = _options(spec, kind)
    if "root" in options:
        options["root"] = _absolute(spec, options["root"])
    return kind, options


def _absolute(spec: DataSpec, root: str) -> str:
    try:
        path = Path(root).expanduser().absolute()
        path.stat()
    except FileNotFoundError:
        pass
    except (OSError, RuntimeError, ValueError) as error:  # no such user, too long, a character that no path may have
        reason = error.strerror if isinstance(error, OSError) else error
        raise DataError(f"data set '{spec.name}': 'root' cannot be read ({reason}), got {root!r}") from None
    return str(path)


def _options(spec: DataSpec, kind: Kind) -> dict[str, Any]:
    known = {**declared(kind.load), **declared(prepare)}
    for name in spec.options:
        if name not in known:
            raise DataError(f"data set '{spec.name}' has no option '{name}'; {did_you_mean(name, known)}")
    for name, option in known.items():
        if option.required and name not in spec.options:
            raise DataError(f"data set '{spec.name}' needs the option '{name}': {kind.layout or option.describe()}")
    try:
        given = {name: known[name].validate(value) for name, value in spec.options.items()}
    except MethodError as error:
        raise DataError(f"data set '{spec.name}': the option {error}") from None
    return {name: option.default for name, option in known.items()} | given


def _there(kind: Kind, root: str) -> list[Path]:
    return [place for place in (Path(root) / name for name in kind.places) if place.exists()]


def _complete(kind: Kind, root: str) -> bool:
    return kind.enough((Path(root) / place).exists() for place in kind.places)


def _packed(kind: Kind, root: str) -> bool:
    """Whether the archives are all there, and whole."""
    return bool(kind.archives) and all(_md5(Path(root) / name) == md5 for name, md5 in kind.archives)


def _md5(file: Path) -> str | None:
    if not file.is_file():
        return None
    with file.open("rb") as content:
        return hashlib.file_digest(content, "md5").hexdigest()


def _key(kind: Kind, options: Mapping[str, Any]) -> str:
    """Names what the cache keeps: the same for the same decoder, kind, options and unchanged files."""
    places = _there(kind, options["root"]) if "root" in options else []
    try:
        files = [_stamp(file) for place in places for file in _files(place)]
    except OSError as error:
        told = f"{error.filename}: cannot be read ({error.strerror})"
        raise DataError(f"{told}; 'root' must name {kind.layout}") from None
    return f"{kind.name}-{digest(canonical([DECODER, kind.name, dict(options), files]))}"


def _files(place: Path) -> list[Path]:
    """All files below a place, in the order of their paths; a class may be a link to a folder."""
    if not place.is_dir():
        return [place]
    below = (Path(folder, name) for folder, _, names in os.walk(place, followlinks=True) for name in names)
    return sorted(file for file in below if file.is_file())


def _stamp(file: Path) -> tuple[str, int, int]:
    status = file.stat()
    return str(file), status.st_size, status.st_mtime_ns
