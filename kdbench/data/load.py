"""Load data sets: decode them once, cache them, and identify them by a fingerprint of their content."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import kdbench.data
from kdbench.data.cache import cached, cached_fingerprint
from kdbench.data.dataset import Dataset
from kdbench.data.dataset_info import DatasetInfo
from kdbench.data.kind import DatasetKind
from kdbench.data.prepare import prepare
from kdbench.errors import DataError, MethodError, did_you_mean
from kdbench.hyperparameters import declared
from kdbench.matrix.identity import canonical, digest
from kdbench.matrix.spec import DataSpec

DECODER_VERSION = 3  # increase it if a loader reads the same files differently


def load(spec: DataSpec) -> Dataset:
    """Return the data set, from the cache if possible; download it if its kind allows. Its arrays are read-only.

    Raises:
        DataError: the kind or an option is unknown, or the data are missing or corrupted.
    """
    kind, options = _resolve_available(spec)
    if kind.download and not kind.find_files(options["root"]):
        kind.download(options["root"])

    def build() -> Dataset:
        data = kind.load(**{name: options[name] for name in declared(kind.load)})
        return prepare(data, **{name: options[name] for name in declared(prepare)})

    return cached(_cache_key(kind, options), build)


def get_fingerprint(spec: DataSpec) -> str:
    """Return the fingerprint of the content of the data set; decode it only if it is not in the cache.

    Raises:
        DataError: as `load`.
    """
    kind, options = _resolve_available(spec)
    return cached_fingerprint(_cache_key(kind, options)) or load(spec).fingerprint


def check(spec: DataSpec) -> None:
    """Check that `load` can be called: the kind and the options are valid and the files exist. Read no image.

    Raises:
        DataError: with the nearest valid name, or the missing file and the required layout.
    """
    _resolve_available(spec)


def find_missing(spec: DataSpec) -> str | None:
    """Return a message if files are missing, which `load` would download if it can; None if it needs no download.

    Raises:
        DataError: the kind or an option is unknown.
    """
    kind, options = _resolve(spec)
    if "root" not in options or kind.find_files(options["root"]) or _has_archives(kind, options["root"]):
        return None
    hint = "; training downloads it if there is internet access" if kind.download else ""
    missing = kind.find_first_missing(options["root"])
    return f"data set '{spec.name}' not found: {missing} does not exist; 'root' must name {kind.layout}{hint}"


def get_info(spec: DataSpec) -> DatasetInfo:
    """Return the class sizes and the image shape of the data set, with its options; read and download nothing.

    Raises:
        DataError: the kind or an option is unknown, the kind has no `info`, `samples` exceeds the number of
            training images, or `resize` is missing although the images differ in size.
    """
    kind, options = _resolve(spec)
    if kind.info is None:
        no_sizes = f"data set '{spec.name}': kind '{spec.kind}' has no published sizes to plan with; load the data set"
        raise DataError(find_missing(spec) or no_sizes)
    try:
        info = kind.info.prepare(**{name: options[name] for name in declared(prepare)})
        _ = info.image_shape
    except DataError as error:
        raise DataError(f"data set '{spec.name}': {error}") from None
    return info


def _resolve_available(spec: DataSpec) -> tuple[DatasetKind, dict[str, Any]]:
    """As `_resolve`, for a data set that exists or can be downloaded."""
    kind, options = _resolve(spec)
    if not kind.download and (reason := find_missing(spec)):
        raise DataError(reason)
    return kind, options


def _resolve(spec: DataSpec) -> tuple[DatasetKind, dict[str, Any]]:
    """Return the kind of a data set and all its options in their types, with an absolute `root`."""
    kinds = kdbench.data.DATASETS
    if spec.kind not in kinds:
        raise DataError(f"data set '{spec.name}': unknown kind '{spec.kind}'; {did_you_mean(spec.kind, kinds)}")
    kind = kinds[spec.kind]
    options = _validate_options(spec, kind)
    if "root" in options:
        options["root"] = _to_absolute(spec, options["root"])
    return kind, options


def _to_absolute(spec: DataSpec, root: str) -> str:
    try:
        path = Path(root).expanduser().absolute()
        path.stat()
    except FileNotFoundError:
        pass
    except (OSError, RuntimeError, ValueError) as error:  # unknown user, path too long, invalid character
        reason = error.strerror if isinstance(error, OSError) else error
        raise DataError(f"data set '{spec.name}': 'root' cannot be read ({reason}), got {root!r}") from None
    return str(path)


def _validate_options(spec: DataSpec, kind: DatasetKind) -> dict[str, Any]:
    known = kind.options
    for name in spec.options:
        if name not in known:
            raise DataError(f"data set '{spec.name}': unknown option '{name}'; {did_you_mean(name, known)}")
    for name, option in known.items():
        if option.is_required and name not in spec.options:
            raise DataError(f"data set '{spec.name}' requires the option '{name}': {kind.layout or option.describe()}")
    try:
        given = {name: known[name].validate(value) for name, value in spec.options.items()}
    except MethodError as error:
        raise DataError(f"data set '{spec.name}': the option {error}") from None
    return {name: option.default for name, option in known.items()} | given


def _has_archives(kind: DatasetKind, root: str) -> bool:
    """Return whether all archives exist and are intact."""
    return bool(kind.archives) and all(_md5(Path(root) / name) == md5 for name, md5 in kind.archives)


def _md5(file: Path) -> str | None:
    if not file.is_file():
        return None
    with file.open("rb") as content:
        return hashlib.file_digest(content, "md5").hexdigest()


def _cache_key(kind: DatasetKind, options: Mapping[str, Any]) -> str:
    """Return a key that is equal for equal decoder, kind and options and unchanged files."""
    found = kind.find_files(options["root"]) if "root" in options else []
    try:
        files = [_stamp(file) for path in found for file in _files_below(path)]
    except OSError as error:
        raise DataError(
            f"{error.filename}: cannot be read ({error.strerror}); 'root' must name {kind.layout}"
        ) from None
    return f"{kind.name}-{digest(canonical([DECODER_VERSION, kind.name, dict(options), files]))}"


def _files_below(path: Path) -> list[Path]:
    """Return all files below a path, sorted; links to folders are followed, since a class may be one."""
    if not path.is_dir():
        return [path]
    below = (Path(folder, name) for folder, _, names in os.walk(path, followlinks=True) for name in names)
    return sorted(file for file in below if file.is_file())


def _stamp(file: Path) -> tuple[str, int, int]:
    status = file.stat()
    return str(file), status.st_size, status.st_mtime_ns
